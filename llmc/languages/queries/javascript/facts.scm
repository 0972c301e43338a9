(formal_parameters [
  (identifier) @parameter
  (assignment_pattern left: (identifier) @parameter.name right: (_) @parameter.default) @parameter
  (assignment_pattern left: [(object_pattern) (array_pattern)] @parameter.pattern
    right: (_) @parameter.default) @parameter
  (object_pattern) @parameter @parameter.pattern
  (array_pattern) @parameter @parameter.pattern
  (rest_pattern (identifier) @parameter.name) @parameter @parameter.rest
])
(class_heritage (expression) @base)
(field_definition property: (_) @member)
