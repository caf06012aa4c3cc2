"""The conformance kit: what a checkpassword program, and a caller of one, has to do, as executable properties.

See checkpw-conform(7). As a pytest plugin it is loaded by `-p checkpw.conform`.
"""

pytest_plugins = ("checkpw.conform.plugin",)
