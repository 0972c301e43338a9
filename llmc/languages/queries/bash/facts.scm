(function_definition) @function
[(subshell) (command_substitution) (pipeline)] @signature
(command (variable_assignment name: (variable_name) @signature))

(simple_expansion (variable_name) @parameter.number)
(expansion (variable_name) @parameter.number)
(simple_expansion (special_variable_name) @parameter.number)
(expansion (special_variable_name) @parameter.number)

(command name: (command_name (word) @failure.maker) argument: (number) @failure.error) @failure

(command name: (command_name) @call)
(variable_assignment name: (variable_name) @write)
