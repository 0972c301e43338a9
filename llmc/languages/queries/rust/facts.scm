[(function_item) (closure_expression)] @function
[(struct_item) (union_item) (enum_item) (trait_item) (impl_item)] @class
[(function_signature_item) (function_type)] @signature
(attribute_item (attribute) @decorator)
(function_item (function_modifiers "async" @async))
(function_item return_type: (_) @result)
(function_item (visibility_modifier) @visibility)
(struct_item (visibility_modifier) @visibility)
(union_item (visibility_modifier) @visibility)
(enum_item (visibility_modifier) @visibility)
(trait_item (visibility_modifier) @visibility)
(field_declaration name: (field_identifier) @member)
(enum_variant name: (identifier) @member)

(function_item parameters: (parameters [
  (self_parameter (self) @parameter.name) @parameter @parameter.receiver
  (parameter pattern: (identifier) @parameter.name type: (_) @parameter.type) @parameter
  (parameter pattern: [(tuple_pattern) (struct_pattern) (tuple_struct_pattern) (slice_pattern)
    (reference_pattern) (mut_pattern)] @parameter.pattern type: (_) @parameter.type) @parameter
  (parameter pattern: "_" @parameter.name type: (_) @parameter.type) @parameter
]))
(tuple_pattern (identifier) @parameter.bound)
(tuple_struct_pattern (identifier) @parameter.bound)
(slice_pattern (identifier) @parameter.bound)
(field_pattern name: (shorthand_field_identifier) @parameter.bound)

(return_expression) @return
(return_expression (call_expression function: (identifier) @failure.maker)) @failure
(return_expression (call_expression
  function: (identifier) arguments: (arguments . (_) @failure.error)))
(function_item body: (block (call_expression function: (identifier) @failure.maker) @failure .))
(function_item body: (block (call_expression
  function: (identifier) arguments: (arguments . (_) @failure.error)) .))

(arguments) @call.arguments
(macro_invocation (token_tree) @call.arguments)
(assignment_expression
  left: [(field_expression) (index_expression) (identifier) (unary_expression)] @write)
(compound_assignment_expr
  left: [(field_expression) (index_expression) (identifier) (unary_expression)] @write)
(generic_function type_arguments: (type_arguments) @call.types)
