"""pagebook: RISC-V virtual memory in Python.

Build the page tables a kernel builds, walk them the way the MMU walks them, and open those of a running or saved
machine::

    import pagebook
    machine = pagebook.boot()                # or pagebook.open("m.core"), or pagebook.open("qemu")
    machine.spaces["sh"].maps()
    pagebook.walk(machine.spaces["sh"], 0x2ff8, "store")
    pagebook.owners(machine)
    pagebook.check(machine)

Importing this package imports nothing else; these are loaded when the first is used, and all else is in its modules.
"""

__version__ = "0.1.0"
__all__ = ["__version__", "boot", "check", "open", "owners", "pte", "walk"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pagebook.ask import boot, check, open, owners, pte, walk
else:

    def __getattr__(name: str) -> object:
        """A function of `pagebook.ask`, by its name."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pagebook import ask

        return getattr(ask, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
