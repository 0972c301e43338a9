"""What is asked of a model, and what is accepted of its reply.

Modules, each built on those before it: instructions, prompts, asking, answers, reply, parroting,
wording, grounds, raising, returning, arguments, verify, assembly, judging, examples, callees,
written.
"""
