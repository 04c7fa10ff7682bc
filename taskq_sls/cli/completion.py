"""``taskq completion``: what a shell needs to complete commands and options, made from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

from .arguments import add_common
from .output import say

SHELLS = ("bash", "zsh", "fish")


class Completed(NamedTuple):
    """A command, by its words behind ``taskq``, and what can follow it.

    Args:
        commands: sub-commands and what they are for.
        options: options and what they are for.
        choices: the values of options that have only these; of others that take a value, nothing.
        words: values of a positional argument that has only these.
    """

    path: str
    commands: dict[str, str]
    options: dict[str, str]
    choices: dict[str, tuple[str, ...]]
    words: tuple[str, ...]


def add_to(commands: Any, root: argparse.ArgumentParser) -> None:
    """Args: root: the parser whose commands and options are completed."""
    parser = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print the completion script of a shell. bash: `source <(taskq completion bash)` in ~/.bashrc; zsh: the "
        "same in ~/.zshrc, behind compinit; fish: `taskq completion fish > ~/.config/fish/completions/taskq.fish`.",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS)
    add_common(parser)
    parser.set_defaults(run=lambda arguments: run(arguments, root))


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> int:
    found = list(completed(root))
    say({"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell](found), end="")
    return 0


def completed(parser: argparse.ArgumentParser, path: str = "") -> Iterator[Completed]:
    """A parser and all its sub-commands."""
    commands: dict[str, str] = {}
    options: dict[str, str] = {}
    choices: dict[str, tuple[str, ...]] = {}
    words: tuple[str, ...] = ()
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            for name, one in action.choices.items():
                commands[name] = helps.get(name, "")
                below.append((f"{path} {name}".strip(), one))
        elif action.option_strings:
            for name in action.option_strings:
                options[name] = (action.help or "") if action.help != argparse.SUPPRESS else ""
                if action.nargs != 0:
                    choices[name] = tuple(map(str, action.choices or ()))
        elif action.choices:
            words += tuple(map(str, action.choices))
    yield Completed(path, commands, options, choices, words)
    for name, one in below:
        yield from completed(one, name)


def bash(found: list[Completed]) -> str:
    """The script for bash."""
    paths = " | ".join(f'"{one.path}"' for one in found if one.path)
    valued = sorted({f'"{one.path}:{name}"' for one in found for name in one.choices})
    values = [
        f'    "{one.path}:{name}") COMPREPLY=($(compgen -W "{" ".join(allowed)}" -- "$word")); return ;;'
        for one in found
        for name, allowed in one.choices.items()
    ]
    words = [f'    "{one.path}") words="{" ".join([*one.commands, *one.words, *one.options])}" ;;' for one in found]
    return "\n".join(
        [
            "# Completion of taskq for bash. Values without a list of their own are completed as files.",
            "_taskq() {",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="" path="" words="" one i',
            "  COMPREPLY=()",
            "  for ((i = 1; i < COMP_CWORD; i++)); do",
            '    one="${COMP_WORDS[i]}"',
            '    case "$path:$before" in',
            f"      {' | '.join(valued)}) before=''; continue ;;",
            "    esac",
            '    before="$one"',
            '    case "${path:+$path }$one" in',
            f'      {paths}) path="${{path:+$path }}$one" ;;',
            "    esac",
            "  done",
            '  case "$path:$before" in',
            *values,
            "  esac",
            '  case "$path" in',
            *words,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "complete -o default -F _taskq taskq",
            "",
        ]
    )


def zsh(found: list[Completed]) -> str:
    """The script for zsh, which knows bash's way of completing."""
    return f"#compdef taskq\nautoload -U +X bashcompinit && bashcompinit\n{bash(found)}"


def fish(found: list[Completed]) -> str:
    """The script for fish."""
    paths = " ".join(f"'{one.path}'" for one in found if one.path)
    lines = [
        "# Completion of taskq for fish.",
        "function __taskq_at",
        "    set -l path",
        "    for word in (commandline -opc)[2..-1]",
        "        set -l longer (string join -- ' ' $path $word)",
        f"        if contains -- $longer {paths}",
        "            set path $longer",
        "        end",
        "    end",
        '    test "$path" = "$argv[1]"',
        "end",
    ]
    for one in found:
        at = f"complete -c taskq -n \"__taskq_at '{one.path}'\""
        lines += [f"{at} -f -a {name} -d {_quoted(text)}" for name, text in one.commands.items()]
        lines += [f"{at} -f -a {name}" for name in one.words]
        for name, text in one.options.items():
            flag = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            allowed = one.choices.get(name)
            value = "" if allowed is None else f" -x -a {_quoted(' '.join(allowed))}" if allowed else " -r"
            lines.append(f"{at} {flag}{value} -d {_quoted(text)}")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    plain = " ".join(text.replace("%(default)s", "").split())
    return "'" + plain.replace("\\", "\\\\").replace("'", "\\'") + "'"
