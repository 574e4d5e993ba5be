"""`keyserver seal init`: the first shares of a node, made on its machine while it is stopped."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keyserver.cli.inspect import ConfigOption
from keyserver.cli.output import (
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
)
from keyserver.cli.passwords import ask_password
from keyserver.cli.seal_handing_out import (
    HandingOut,
    OutDirOption,
    PlainOption,
    RecipientOption,
    SharesOption,
    ThresholdOption,
    handing_out,
    print_handed_out,
    take_back,
)
from keyserver.cli.seal_output import print_for_good, telling
from keyserver.cli.seal_shares import read_good

if TYPE_CHECKING:
    from keyserver.app.config import Loaded
    from keyserver.app.offline_sealing import StoppedStore
    from keyserver.crypto.curve import SecretScalar
    from keyserver.sealing.making import PreparedSeal

Facts = Mapping[str, Any]  # Any: JSON

ImportOption = Annotated[
    Path | None,
    typer.Option(
        "--import-node-key",
        metavar="FILE",
        help="The node's key, if not that of the configuration: 64 hex digits, or a key file.",
    ),
]
ImportPasswordOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Its first line opens --import-node-key."),
]
KeepOption = Annotated[
    bool,
    typer.Option("--keep-slot", help="Keep the key that opens the node now, beside the shares."),
]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify", help="In a store in use, read enough new shares back first."
    ),
]
NewFilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--new-file", metavar="FILE", help="A new share, to verify it; once for each. Else asked."
    ),
]
IdentitiesOption = Annotated[
    list[Path] | None,
    typer.Option("--age-identity", metavar="FILE", help="Opens --new-file; may be repeated."),
]


def init(
    config: ConfigOption = None,
    shares: SharesOption = 5,
    threshold: ThresholdOption = 3,
    recipients: RecipientOption = None,
    out_dir: OutDirOption = None,
    plain: PlainOption = False,
    import_node_key: ImportOption = None,
    password_file: ImportPasswordOption = None,
    keep_slot: KeepOption = False,
    verify: VerifyOption = True,
    new_files: NewFilesOption = None,
    identities: IdentitiesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the shares that open a node from now on. The node must be stopped.

    In a new store its key goes in, too. In one that is in use, what opens it now is replaced, or
    kept beside the shares; no stored secret is touched. Afterwards the node is sealed. With
    --plain-shares and --json all shares are printed at once: only for machines that keep them.
    """
    from keyserver.app.config import load  # deferred, as in all commands

    way = handing_out(
        recipients, out_dir, plain=plain, shares=shares, threshold=threshold, as_json=as_json
    )
    loaded = load(config)
    making = _Making(
        loaded,
        way,
        shares,
        threshold,
        keep_slot,
        verify,
        tuple(new_files or ()),
        tuple(identities or ()),
    )
    try:
        facts = asyncio.run(making.run(_node_key(loaded, import_node_key, password_file)))
    except BaseException as error:
        making.say_what_counts(error)
        raise
    if "shares" in facts:
        return  # printed, before they were in force
    with telling(way.in_force(facts["epoch"])):
        _print_done(facts, way, as_json=as_json)


def _print_done(facts: Facts, way: HandingOut, *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    facts = {**facts, "files": way.lines(facts["files"])}
    print_facts({name: facts[name] for name in facts if name not in _LISTS}, as_json=False)
    for name, title in _LISTS.items():
        if facts[name]:
            print(f"\n{title}")
            for line in facts[name]:
                print(f"  {line}")
    print("\nNext: keyserver run, then each operator: keyserver seal unseal")


_LISTS = {
    "files": "Give each operator their file:",
    "add": "Write into the configuration, so that no other seal is opened:",
    "remove": "Remove from the configuration:",
    "destroy": "Destroy, once backups made so far are not needed any more:",
}


def _node_key(
    loaded: "Loaded", file: Path | None, password_file: Path | None
) -> "SecretScalar | None":
    """The node's key, from the file or the configuration; `None`: the store has it, or makes one.

    Raises `ConfigError` and `CommandError`.
    """
    from keyserver.app.accounts import load_node_key
    from keyserver.client.deployment_plan import read_key
    from keyserver.crypto.curve import SecretScalar

    configured = None
    if loaded.config.secretstore.self_secret is not None:
        configured = load_node_key(loaded.config).secret
    if file is None:
        return configured
    account = read_key(file, lambda: ask_password(f"Password of {file}", password_file))
    imported = SecretScalar(bytes(account.key))
    if configured is not None and configured != imported:
        raise CommandError(
            f"{file}: is another key than self_secret of the configuration; which one is right?",
            hint="Remove one of the two.",
            exit_code=USAGE,
        )
    return imported


_NOTHING = "nothing has changed"
_VOID = "nothing has changed: the new shares are void"
_UNKNOWN = (
    "it is not known whether the new shares are in force: keep them, and what opened the node "
    "before. The same command says so if they are"
)
_IN_FORCE = "the new shares are in force: keep them"


@dataclass(slots=True)
class _Making:
    """One run: prepare, hand out, read back, put in force."""

    loaded: "Loaded"
    way: HandingOut
    shares: int
    threshold: int
    keep_slot: bool
    verify: bool
    new_files: Sequence[Path]
    identities: Sequence[Path]
    _counts: str = _NOTHING
    """What is to be said of the shares if it ends here."""

    def say_what_counts(self, error: BaseException) -> None:
        """Say which shares are in force, where the error leaves that open."""
        if self._counts != _NOTHING or isinstance(error, KeyboardInterrupt):
            print(f"keyserver: {self._counts}", file=sys.stderr)

    async def run(self, node_secret: "SecretScalar | None") -> Facts:
        """Go through to the end; before the last step nothing has changed."""
        from keyserver.app.clock import SystemClock
        from keyserver.app.offline_sealing import stopped_store
        from keyserver.crypto.randomness import SystemRandom
        from keyserver.sealing.making import prepare

        random, clock = SystemRandom(), SystemClock()
        async with stopped_store(self.loaded, random=random, clock=clock) as stopped:
            reads_back = self.verify and not stopped.is_new
            prepared = await prepare(
                stopped.seal,
                stopped.audit,
                node_secret=node_secret,
                shares=self.shares,
                threshold=self.threshold,
                recipients=self.way.recipients,
                source=stopped.source,
                keep_slot=self.keep_slot,
                random=random,
                now_ms=clock.unix() * 1000,
            )
            if reads_back and self.way.as_json and not self.new_files:
                raise CommandError(
                    "--json: the store is in use, so new shares are read back before they count",
                    hint="Give --new-file for each of them, or --no-verify.",
                    exit_code=USAGE,
                )
            files: list[str] = []
            try:
                facts = self._hand_out(prepared, stopped, files, reads_back=reads_back)
                self._counts = _UNKNOWN
                await self._commit(prepared)
            except BaseException:
                if self._counts == _VOID:
                    take_back(files)
                raise
            return facts

    def _hand_out(
        self,
        prepared: "PreparedSeal",
        stopped: "StoppedStore",
        files: list[str],
        *,
        reads_back: bool,
    ) -> Facts:
        """Have the shares reach their keepers; what is to be told of them. Fills `files`."""
        from keyserver.api.operator_seal import new_shares_facts
        from keyserver.app.interrupting import interrupted_at_once

        made = new_shares_facts(prepared.shares)
        handed = made.pop("shares")
        self._counts = _VOID
        with interrupted_at_once():
            files += self.way.give(handed, made["epoch"])
            if reads_back:
                self._read_back(prepared, files)
            made["node_id"] = prepared.node_id.hex()
            shown = {"shares": handed} if self.way.as_json and not files else {}
            facts = {
                **made,
                **shown,
                "files": files,
                "add": [f'[keyserver.seal] expect_node_id = "{made["node_id"]}"'],
                **self._left_over(prepared, stopped),
            }
            if shown:
                print_for_good(facts)
        return facts

    async def _commit(self, prepared: "PreparedSeal") -> None:
        """Put the shares in force; raises as `PreparedSeal.commit`."""
        from keyserver.sealing.errors import AlreadyInitialisedError, SealConflictError

        try:
            await prepared.commit()
        except (AlreadyInitialisedError, SealConflictError):
            self._counts = _VOID
            raise
        self._counts = _IN_FORCE

    def _read_back(self, prepared: "PreparedSeal", files: Sequence[str]) -> None:
        """Have enough new shares shown again; raises `CommandError` for files that are wrong."""
        if files and not self.new_files:
            print_handed_out(self.way, files)
        rest, seen = list(self.new_files), set[int]()
        while len(seen) < self.threshold:
            if self.new_files and not rest:
                raise CommandError(
                    f"--new-file: {self.threshold} different shares are needed", exit_code=USAGE
                )
            epoch, number = prepared.record.epoch, len(seen) + 1
            what = f"A share of the new set {epoch}, {number} of {self.threshold}"
            source = rest.pop(0) if rest else None
            _, share = read_good(source, self.identities, what, prepared.record)
            if share.member_index in seen:
                print("keyserver: this share was there already", file=sys.stderr)
            seen.add(share.member_index)

    def _left_over(self, prepared: "PreparedSeal", stopped: "StoppedStore") -> Facts:
        """What is not needed any more, and opens what the shares are to protect."""
        remove: list[str] = []
        destroy: list[str] = []
        if prepared.secret_moved:
            found = _key_left_over(self.loaded)
            remove += found[0]
            destroy += found[1]
        if stopped.source is not None and not self.keep_slot:
            found = _source_left_over(self.loaded)
            remove += found[0]
            destroy += found[1]
        return {"remove": remove, "destroy": destroy}


def _key_left_over(loaded: "Loaded") -> tuple[list[str], list[str]]:
    """Where the configuration has the node's key: it is in the store now."""
    from keyserver.app.accounts import find_key_files
    from keyserver.app.config import AccountKey

    own = loaded.config.secretstore.self_secret
    if own is None:
        return [], []
    remove = ["[secretstore] self_secret"]
    if not isinstance(own, AccountKey):
        return remove, ["other copies of this configuration: they hold the node's key"]
    files = [str(found.path) for found in find_key_files(loaded.config, own.address)]
    passwords = loaded.config.account.password
    if passwords:
        remove.append("[account] password")
    return remove, [*files, *(str(path) for path in passwords)]


def _source_left_over(loaded: "Loaded") -> tuple[list[str], list[str]]:
    """What has opened the store before the shares."""
    seal = loaded.config.keyserver.seal
    if seal.key_env is not None:
        return ["[keyserver.seal] key_env"], [f"the environment variable {seal.key_env}"]
    if seal.passphrase_file is not None:
        return ["[keyserver.seal] passphrase_file"], [str(seal.passphrase_file)]
    from keyserver.app.config.sources import Source

    is_default = loaded.origin("keyserver.seal.key_file").source is Source.DEFAULT
    remove = [] if is_default else ["[keyserver.seal] key_file"]
    return remove, [str(seal.key_file)]
