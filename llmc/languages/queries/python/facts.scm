; Definitions
[(function_definition) (lambda)] @function
(class_definition) @class
(decorator (_) @decorator)
(function_definition "async" @async)
(function_definition return_type: (type) @result)
(class_definition superclasses: (argument_list [(identifier) (attribute) (subscript)] @base))
(class_definition body: (block (expression_statement (assignment left: (identifier) @member))))
(function_definition body: (block (expression_statement (ellipsis) @stub)))

; Parameters: those of a lambda, which are of the same kinds, belong to no span
(parameters (identifier) @parameter)
(default_parameter name: (identifier) @parameter.name value: (_) @parameter.default) @parameter
(typed_parameter . (identifier) @parameter.name type: (type) @parameter.type) @parameter
(typed_default_parameter name: (identifier) @parameter.name type: (type) @parameter.type
  value: (_) @parameter.default) @parameter
(parameters (list_splat_pattern (identifier) @parameter.name) @parameter @parameter.rest)
(parameters (dictionary_splat_pattern (identifier) @parameter.name) @parameter @parameter.keywords)
(typed_parameter . (list_splat_pattern (identifier) @parameter.name) @parameter.rest
  type: (type) @parameter.type) @parameter
(typed_parameter . (dictionary_splat_pattern (identifier) @parameter.name) @parameter.keywords
  type: (type) @parameter.type) @parameter
(keyword_separator) @parameters.keyword
(positional_separator) @parameters.positional

; What leaves
(return_statement) @return
(yield) @yield
(raise_statement) @raise
(raise_statement . [(identifier) (attribute)] @raise.error)
(raise_statement . (call function: [(identifier) (attribute)] @raise.error))
(raise_statement . (call arguments: (argument_list . (string) @raise.message)))

; What is reached
(call arguments: (argument_list) @call.arguments)
(call function: [(identifier) (attribute)] @call.one arguments: (generator_expression))
(assignment left: [(attribute) (subscript)] @write)
(assignment left: (pattern_list [(attribute) (subscript)] @write))
(augmented_assignment left: [(attribute) (subscript)] @write)
(delete_statement [(attribute) (subscript)] @write)
(global_statement (identifier) @shared)
