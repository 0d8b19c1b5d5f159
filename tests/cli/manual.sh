#!/usr/bin/env bash
# Manual pages: one for each command and one for recipes, with everything that the tables have, and nothing that troubles a formatter.
set -eu
source "$2/tests/cli/helpers.bash"
mkdir pages
expect 0 --manual pages
refuses 'no/such: manual pages cannot be written there' --manual no/such

commands=$("$coterie" --complete '' | cut -f1 | grep -v '^help$')
for command in $commands; do
    [ -f "pages/coterie-$command.1" ] || fail "no page for $command"
    grep -q "^.B.*$command\|fB$command" pages/coterie.1 || fail "coterie(1) does not name $command"
    for option in $("$coterie" --complete "$command" -- 2>/dev/null | cut -f1 | grep '^--' | grep -vxF -- --help); do
        grep -qF -- "\\-\\-$(echo "${option#--}" | sed 's/-/\\-/g')\\fR" "pages/coterie-$command.1" || fail "coterie-$command(1) lacks $option"
    done
done
[ -f pages/coterie-tokenizer-train.1 ] || fail "no page for tokenizer train"

python3 - "$coterie" pages/coterie-recipe.5 <<'PYTHON'
import json, subprocess, sys
program, page = sys.argv[1:]
text = open(page).read().replace("\\-", "-")
sections = {head.split("\n")[0]: head for head in text.split(".SH ")[1:]}
for family in json.loads(subprocess.check_output([program, "list", "--json"]))["families"]:
    for member in family["members"]:
        name = family["name"] if family["has_kinds"] else member["name"]
        section = sections[name.upper().replace("_", " ")]
        if family["has_kinds"]:
            section = section.split(f".SS kind: {member['name']}\n")[1].split(".SS ")[0]
        for option in member["options"]:
            assert f"\\fB{option['name']}\\fR\n" in section, (name, option["name"])
PYTHON

if command -v groff >/dev/null; then
    : >err
    for page in pages/*; do
        groff -man -Tutf8 -ww -z "$page" 2>>err >/dev/null || fail "groff refuses $page"
    done
    [ ! -s err ] || fail "groff complains"
    groff -man -Tascii -P-cbou pages/coterie-train.1 >out
    out_has '--set KEY=VALUE'
    out_has "the run's folder"
fi
echo "manual pages fit"
