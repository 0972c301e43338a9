"""The account of a run: JSON lines that several processes may write, and their audit.

Modules, each built on those before it: fields, jsonl, ledger, egress, audit, rebuild.
"""
