"""Ways of reaching a model, one file each, and the cascade that asks them in order.

Modules, each built on those before it: _failures, _stream, cascade, _base, _border, command,
llamacpp, _gathering, _dialects, _contexts, _parts, ollama, _unnamed, openai, builder, weights.
"""
