"""pagebook: RISC-V virtual memory in Python.

Build the page tables a kernel builds, walk them the way the MMU walks them, and open those of a saved machine.
Importing this package imports nothing else; take what you need from its modules.
"""

__version__ = "0.1.0"
