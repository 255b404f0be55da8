"""What a shell may put in the place of half a word, and the verb that tells the shell to ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TARGETS = {
    "xv6": "the model, booted afresh",
    "qemu": "the guest that runs now",
    "rules": "the machine of the examples",
}
OF_THE_MODEL = ("kernel", "init", "sh")
VARIABLE = "_PAGEBOOK_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def files(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Files, as the shell lists them."""
    return [_item(start, kind="file")]


def targets(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The machines that have a name; files where none fits."""
    named = [_item(name, what) for name, what in TARGETS.items() if name.startswith(start)]
    return named or files(context, parameter, start)


def spaces(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """The address spaces of the model, some of which every xv6 has; no machine is opened while somebody types."""
    return [_item(name) for name in OF_THE_MODEL if name.startswith(start)]


def rules(context: click.Context, parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Rules by id, or by name when that is how it starts."""
    from pagebook.checks.registry import RULES

    ids = [_item(rule.id, rule.summary) for rule in RULES if rule.id.startswith(start.upper())]
    return ids or [_item(rule.name, rule.summary) for rule in RULES if rule.name.startswith(start)]


def _item(word: str, what: str | None = None, kind: str = "plain") -> CompletionItem:
    from click.shell_completion import CompletionItem  # 4 ms, which only a completion has to pay

    return CompletionItem(word, kind, what)


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> int:
    """Print what makes your shell complete pagebook's words.

    \b
    ~/.bashrc:                    eval "$(pagebook completion bash)"
    ~/.zshrc:                     eval "$(pagebook completion zsh)"
    ~/.config/fish/config.fish:   pagebook completion fish | source

    Verbs, options, rules, machines and files are completed, and the address spaces of the model.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "pagebook", VARIABLE).source())
    return 0
