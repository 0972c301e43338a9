[(abstract_class_declaration) (interface_declaration) (enum_declaration)
 (type_alias_declaration)] @class
[(function_type) (constructor_type) (method_signature) (function_signature) (call_signature)
 (construct_signature) (abstract_method_signature)] @signature
(_ return_type: (_) @result)

(formal_parameters (required_parameter pattern: (identifier) @parameter.name) @parameter)
(formal_parameters (optional_parameter
  pattern: (identifier) @parameter.name) @parameter @parameter.optional)
(formal_parameters (required_parameter
  pattern: [(object_pattern) (array_pattern)] @parameter.pattern) @parameter)
(formal_parameters (required_parameter pattern: (this) @parameter.name) @parameter)
(formal_parameters (required_parameter
  pattern: (rest_pattern (identifier) @parameter.name) @parameter.rest) @parameter)
(required_parameter type: (type_annotation (_) @parameter.type))
(optional_parameter type: (type_annotation (_) @parameter.type))
(required_parameter value: (_) @parameter.default)
(optional_parameter value: (_) @parameter.default)

(method_definition (accessibility_modifier) @visibility)
(class_heritage (extends_clause value: (_) @base))
(class_heritage (implements_clause (_) @base))
(extends_type_clause type: (_) @base)
(public_field_definition name: (_) @member)
(interface_body (property_signature name: (_) @member))
(enum_body [(property_identifier) @member (enum_assignment name: (_) @member)])

(new_expression type_arguments: (type_arguments) @call.types)
(call_expression type_arguments: (type_arguments) @call.types)
