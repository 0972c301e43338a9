[(method_declaration) (constructor_declaration) (compact_constructor_declaration)
 (lambda_expression)] @function
[(class_declaration) (record_declaration) (interface_declaration) (annotation_type_declaration)
 (enum_declaration)] @class
(method_declaration type: (_) @result)
(method_declaration (modifiers ["public" "private" "protected"] @visibility))
(constructor_declaration (modifiers ["public" "private" "protected"] @visibility))
(class_declaration (modifiers ["public" "private" "protected"] @visibility))
(interface_declaration (modifiers ["public" "private" "protected"] @visibility))
(enum_declaration (modifiers ["public" "private" "protected"] @visibility))
(record_declaration (modifiers ["public" "private" "protected"] @visibility))
(method_declaration (modifiers [(marker_annotation) (annotation)] @attribute))
(constructor_declaration (modifiers [(marker_annotation) (annotation)] @attribute))
(class_declaration (modifiers [(marker_annotation) (annotation)] @attribute))
(interface_declaration (modifiers [(marker_annotation) (annotation)] @attribute))
(superclass (_) @base)
(super_interfaces (type_list (_) @base))
(extends_interfaces (type_list (_) @base))
(class_body (field_declaration declarator: (variable_declarator name: (identifier) @member)))
(enum_constant name: (identifier) @member)
(record_declaration parameters: (formal_parameters (formal_parameter name: (identifier) @member)))
(throws (_) @throws)

(formal_parameters (formal_parameter type: (_) @parameter.type
  name: (identifier) @parameter.name) @parameter)
(formal_parameters (spread_parameter . (_) @parameter.type
  (variable_declarator name: (identifier) @parameter.name)) @parameter @parameter.rest)
(formal_parameters (receiver_parameter (this) @parameter.name) @parameter @parameter.receiver)

(return_statement) @return
(throw_statement) @raise
(throw_statement (object_creation_expression
  type: [(type_identifier) (scoped_type_identifier) (generic_type)] @raise.error))
(throw_statement (object_creation_expression
  arguments: (argument_list . (string_literal) @raise.message)))

(argument_list) @call.arguments
(object_creation_expression type: (generic_type (type_arguments) @call.types))
(assignment_expression left: [(field_access) (array_access) (identifier)] @write)
(update_expression [(field_access) (array_access) (identifier)] @write)
