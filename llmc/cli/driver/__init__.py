"""What the batch driver is made of, apart from what people replace in it.

The script keeps its established names: the adapters and their builder stand there, and look up
`call_qwen` and `parse_and_validate` among its names whenever they run. Here is what they rest on.

Modules, each built on those before it: flags, places, calling.
"""
