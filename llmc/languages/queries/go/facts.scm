[(function_declaration) (method_declaration) (func_literal)] @function
[(struct_type) (interface_type)] @class
(function_type) @signature
(function_declaration result: (_) @result)
(method_declaration result: (_) @result)
(field_declaration name: (field_identifier) @member)

(method_declaration receiver: (parameter_list
  (parameter_declaration) @parameter @parameter.receiver))
(_ parameters: (parameter_list (parameter_declaration) @parameter))
(_ parameters: (parameter_list (variadic_parameter_declaration) @parameter @parameter.rest))
(parameter_declaration name: (identifier) @parameter.name)
(parameter_declaration type: (_) @parameter.type)
(variadic_parameter_declaration name: (identifier) @parameter.name)
(variadic_parameter_declaration type: (_) @parameter.type)

(return_statement) @return
(return_statement (expression_list [(identifier) (selector_expression)] @failure.error .)) @failure
(return_statement (expression_list (call_expression
  function: (selector_expression) @failure.error) .)) @failure
(return_statement (expression_list (call_expression
  arguments: (argument_list . (interpreted_string_literal) @failure.message)) .))

(argument_list) @call.arguments
(assignment_statement left: (expression_list
  [(selector_expression) (index_expression) (identifier) (unary_expression)] @write))
(inc_statement (_) @write)
(dec_statement (_) @write)
