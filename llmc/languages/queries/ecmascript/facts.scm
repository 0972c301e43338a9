; Definitions
[(function_declaration) (generator_function_declaration) (function_expression) (generator_function)
 (arrow_function) (method_definition)] @function
[(class_declaration) (class)] @class
(decorator (_) @decorator)
(function_declaration "async" @async)
(generator_function_declaration "async" @async)
(function_expression "async" @async)
(generator_function "async" @async)
(arrow_function "async" @async)
(method_definition "async" @async)

; Parameters
(arrow_function parameter: (identifier) @parameter)
(object_pattern (shorthand_property_identifier_pattern) @parameter.bound)
(object_pattern (pair_pattern value: (identifier) @parameter.bound))
(object_assignment_pattern left: (shorthand_property_identifier_pattern) @parameter.bound)
(array_pattern (identifier) @parameter.bound)
(assignment_pattern left: (identifier) @parameter.bound)
(rest_pattern (identifier) @parameter.bound)

; What leaves
(return_statement) @return
(arrow_function body: (expression) @value)
(yield_expression) @yield
(throw_statement) @raise
(throw_statement (new_expression constructor: [(identifier) (member_expression)] @raise.error))
(throw_statement (new_expression
  arguments: (arguments . [(string) (template_string)] @raise.message)))

; What is reached
(arguments) @call.arguments
(assignment_expression left: [(member_expression) (subscript_expression) (identifier)] @write)
(augmented_assignment_expression
  left: [(member_expression) (subscript_expression) (identifier)] @write)
(update_expression argument: [(member_expression) (subscript_expression) (identifier)] @write)
(unary_expression "delete" argument: [(member_expression) (subscript_expression)] @write)
