[(function_definition) (preproc_function_def)] @function
[(struct_specifier body: (_)) (union_specifier body: (_)) (enum_specifier body: (_))] @class
(function_definition type: (_) @result)
(function_definition declarator: (pointer_declarator) @pointer)
(function_definition declarator: (pointer_declarator declarator: (pointer_declarator) @pointer))
(function_definition (storage_class_specifier "static") @visibility)
(field_declaration declarator: (field_identifier) @member)
(field_declaration declarator: (pointer_declarator declarator: (field_identifier) @member))
(field_declaration declarator: (array_declarator declarator: (field_identifier) @member))
(enumerator name: (identifier) @member)

(function_definition declarator: (function_declarator
  parameters: (parameter_list) @parameters))
(function_definition declarator: (function_declarator
  parameters: (parameter_list (parameter_declaration) @parameter)))
(function_definition declarator: (pointer_declarator declarator: (function_declarator
  parameters: (parameter_list) @parameters)))
(function_definition declarator: (pointer_declarator declarator: (function_declarator
  parameters: (parameter_list (parameter_declaration) @parameter))))
(function_definition declarator: (pointer_declarator declarator: (pointer_declarator
  declarator: (function_declarator parameters: (parameter_list) @parameters))))
(function_definition declarator: (pointer_declarator declarator: (pointer_declarator
  declarator: (function_declarator
    parameters: (parameter_list (parameter_declaration) @parameter)))))
(parameter_declaration declarator: (identifier) @parameter.name)
(parameter_declaration declarator: (pointer_declarator declarator: (identifier) @parameter.name))
(parameter_declaration declarator: (pointer_declarator
  declarator: (pointer_declarator declarator: (identifier) @parameter.name)))
(parameter_declaration declarator: (array_declarator declarator: (identifier) @parameter.name))
(parameter_declaration declarator: (pointer_declarator
  declarator: (array_declarator declarator: (identifier) @parameter.name)))
(parameter_declaration declarator: (array_declarator
  declarator: (array_declarator declarator: (identifier) @parameter.name)))
(parameter_declaration declarator: (function_declarator declarator: (parenthesized_declarator
  (pointer_declarator declarator: (identifier) @parameter.name))))
(parameter_declaration declarator: (function_declarator
  parameters: (parameter_list) @signature))
(preproc_function_def parameters: (preproc_params) @parameters)
(preproc_function_def parameters: (preproc_params (identifier) @parameter @parameter.name))

(return_statement) @return
(return_statement [(unary_expression) (number_literal)] @failure.error) @failure

(argument_list) @call.arguments
(assignment_expression left: (_) @write)
(update_expression argument: (_) @write)
