"""`keyserver seal rekey`: exchange all shares, with the present ones (sealing, C8).

Nothing changes before the last step, and that is taken when the new shares are handed out: written,
printed, or seen by whoever keeps them. Until then a rekey that is broken off leaves the present
shares in force, and the new ones open nothing. New shares are removed only once the node has
confirmed that.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from keyserver.cli.inspect import ConfigOption, PathOption, UrlOption
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.operator_admin import (
    AdminKeyOption,
    AdminPasswordOption,
    CaFileOption,
    CertificateOption,
    NodeIdOption,
    Place,
    Signing,
    find_admin_operator,
)
from keyserver.cli.operator_client import OperatorClient, RefusedError
from keyserver.cli.output import (
    USAGE,
    WRONG_SHARE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    report_error,
)
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
from keyserver.cli.seal_shares import prompt_for, read_share

Facts = Mapping[str, Any]  # Any: JSON, as the node sends it

PROVING: Final = "proving"
VERIFYING: Final = "verifying"
STAGED: Final = "staged"

RekeyArgument = Annotated[str, typer.Argument(metavar="REKEY", help="As `rekey` has told it.")]
OldFilesOption = Annotated[
    list[Path] | None,
    typer.Option("--file", metavar="FILE", help="A present share; once for each. Else asked."),
]
NewFilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--new-file", metavar="FILE", help="A new share, to verify it; once for each. Else asked."
    ),
]
IdentitiesOption = Annotated[
    list[Path] | None,
    typer.Option("--age-identity", metavar="FILE", help="Opens shares; may be repeated."),
]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Whether enough new shares must be read back first. Without, they are in force once "
        "they are handed out, whether or not anybody can read them.",
    ),
]
DropOption = Annotated[
    bool, typer.Option("--drop-slots", help="Let shares alone open the node from now on.")
]

TRIES: Final = 5
"""How often the last share of a step is sent where the node's store does not answer."""
TRY_AGAIN_S: Final = 3.0

app = typer.Typer(**{**APP_SETTINGS, "no_args_is_help": False})


@app.callback(invoke_without_command=True)
def rekey(
    context: typer.Context,
    shares: SharesOption = 5,
    threshold: ThresholdOption = 3,
    recipients: RecipientOption = None,
    out_dir: OutDirOption = None,
    plain: PlainOption = False,
    verify: VerifyOption = True,
    drop_slots: DropOption = False,
    files: OldFilesOption = None,
    new_files: NewFilesOption = None,
    identities: IdentitiesOption = None,
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Exchange all shares: enough present ones are read, new ones handed out and read back.

    With that the new ones are in force, and nothing that is stored is encrypted anew. Keep the old
    shares until the backups are gone that only they open, then destroy them.
    """
    if context.invoked_subcommand is not None:
        return
    way = handing_out(
        recipients, out_dir, plain=plain, shares=shares, threshold=threshold, as_json=as_json
    )
    if as_json and verify and not new_files and out_dir is None:
        raise CommandError(
            "--json: the new shares would be asked for before they are printed",
            hint="Give --recipient and --out-dir with --new-file for each share, or --no-verify.",
            exit_code=USAGE,
        )
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    epoch = operator.get("/v1/seal/status")["epoch"]
    way.refuse_old_files(epoch + 1)
    body = {"shares": shares, "threshold": threshold, "recipients": list(way.recipients)}
    body |= {"verify": verify, "drop_slots": drop_slots}
    started = operator.post("/v1/seal/rekey", body)
    ceremony = _Ceremony(operator, started["rekey"], epoch, way, tuple(identities or ()))
    done = ceremony.run(started, tuple(files or ()), tuple(new_files or ()))
    if "shares" in done:
        return  # printed, before they were in force
    with telling(way.in_force(done["epoch"])):
        _print_done(done, way, as_json=as_json)


def _print_done(done: Facts, way: HandingOut, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    print_facts({name: done[name] for name in done if name != "files"}, as_json=False)
    if "files" in done:
        print("\nGive each operator their file:")
        print("\n".join(f"  {line}" for line in way.lines(done["files"])))
    print("\nThe new shares are in force. Other replicas seal themselves: unseal them anew.")
    print("Keep the old shares until the backups are gone that only they open.")


@app.command()
def status(
    rekey_id: RekeyArgument,
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far a rekey is."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    print_facts(operator.get(f"/v1/seal/rekey/{_plain(rekey_id)}"), as_json=as_json)


@app.command()
def cancel(
    rekey_id: RekeyArgument,
    config: ConfigOption = None,
    path: PathOption = None,
    url: UrlOption = None,
    ca_file: CaFileOption = None,
    certificate: CertificateOption = None,
    admin_key: AdminKeyOption = None,
    password_file: AdminPasswordOption = None,
    node_id: NodeIdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Break a rekey off; nothing has changed."""
    place = Place(url, path, config, ca_file, certificate)
    operator = find_admin_operator(place, Signing(admin_key, password_file, node_id))
    print_facts(operator.delete(f"/v1/seal/rekey/{_plain(rekey_id)}"), as_json=as_json)


def _plain(rekey_id: str) -> str:
    if not rekey_id.isascii() or not rekey_id.replace("-", "").isalnum():
        raise CommandError("REKEY: must be the id that `rekey` has told", exit_code=USAGE)
    return rekey_id


@dataclass(slots=True)
class _Ceremony:
    """All steps of one rekey, at one terminal or with files."""

    operator: OperatorClient
    rekey_id: str
    epoch: int
    """Of the present shares."""
    way: HandingOut
    identities: tuple[Path, ...]
    may_be_in_force: bool = False
    """Whether the node was asked for the last step."""

    def run(self, started: Facts, files: Sequence[Path], new_files: Sequence[Path]) -> Facts:
        """Go through to the end; what goes wrong on the way breaks the rekey off."""
        _say(f"rekey {self.rekey_id}")
        written: list[str] = []
        try:
            answer = self._collect(started, "share", PROVING, "present", files)
            written = self.way.give(answer["shares"], answer["epoch"])
            made = {name: answer[name] for name in ("epoch", "identifier", "seal_id", "threshold")}
            if self.way.as_json and not written:
                made["shares"] = answer["shares"]
                print_for_good(made)
            if answer["state"] == STAGED:
                self._ask("commit", {}, is_last=True)
            else:
                if written and not new_files:
                    print_handed_out(self.way, written)
                self._collect(answer, "verify", VERIFYING, "new", new_files)
        except BaseException:
            self._break_off(written)
            raise
        return {**made, **({"files": written} if written else {})}

    def _collect(
        self, answer: Facts, step: str, state: str, which: str, files: Sequence[Path]
    ) -> Facts:
        """Send shares until the step is over; its last answer."""
        rest = list(files)
        while answer["state"] == state:
            number, required = answer["progress"] + 1, answer["required"]
            if files and not rest:
                raise CommandError(f"{which} shares: {required} are needed", exit_code=USAGE)
            epoch = self.epoch if state == PROVING else self.epoch + 1
            what = f"A share of the {which} set {epoch}, {number} of {required}"
            try:
                source = rest.pop(0) if rest else None
                text = read_share(source, self.identities, prompt_for(what))
                is_last = state == VERIFYING and number >= required
                answer = self._ask(step, {"share": text}, is_last=is_last)
            except CommandError as error:
                if error.exit_code != WRONG_SHARE or files or not sys.stdin.isatty():
                    raise
                report_error(error)
                continue
            if answer["reason"] == "duplicate":
                _say("this share was there already")
        return answer

    def _ask(self, step: str, body: Mapping[str, object], *, is_last: bool) -> Any:
        """Take a step; again, where the node cannot tell what became of the last one."""
        self.may_be_in_force |= is_last
        for _ in range(TRIES - 1):
            try:
                return self.operator.post(self._path(step), body)
            except RefusedError as error:
                if error.code != "STORAGE_UNAVAILABLE":
                    raise
                _say(f"{str(error).splitlines()[0]}; trying again")
                time.sleep(TRY_AGAIN_S)
        return self.operator.post(self._path(step), body)

    def _break_off(self, files: Sequence[str]) -> None:
        """Let the node forget the rekey, and say which shares are in force.

        Only where the node confirms that the present ones stay in force the new ones are removed.
        """
        stays = f"the present shares stay in force (set {self.epoch})"
        end = f"keyserver seal rekey cancel {self.rekey_id}"
        code = ""
        try:
            self.operator.delete(self._path())
        except (CommandError, KeyboardInterrupt) as error:
            code = error.code if isinstance(error, RefusedError) else ""
            if code != "REKEY_NOT_FOUND":
                report_error(error)
        else:
            take_back(files)
            _say(f"the rekey was broken off: {stays}, new ones are void")
            return
        if code == "CONFLICT":
            _say(
                f"the new shares are in force (set {self.epoch + 1}), the present ones are not: "
                "keep all new ones"
            )
        elif self.may_be_in_force:
            _say(
                "it is not known which shares are in force: keep the present and the new ones. "
                f"`keyserver seal status` shows epoch {self.epoch + 1} if the new ones are, "
                f"else {self.epoch}; a rekey that is still open then ends with: {end}"
            )
        elif code == "REKEY_NOT_FOUND":
            take_back(files)
            _say(f"the rekey is over: {stays}, new ones are void")
        else:
            _say(f"{stays}; the rekey ends by itself within an hour, or with: {end}")

    def _path(self, step: str = "") -> str:
        return f"/v1/seal/rekey/{self.rekey_id}" + (f"/{step}" if step else "")


def _say(text: str) -> None:
    print(f"keyserver: {text}", file=sys.stderr)
