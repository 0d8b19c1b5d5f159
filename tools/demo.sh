#!/bin/sh
# The demo: train the default recipe, evaluate it beside the yardstick, sample from it, draw it.
#   COTERIE  the program (default: the one in $BUILD or build/, else the installed one)    RUN  the run's folder
# Arguments go to `coterie train`.
set -eu
coterie=${COTERIE:-${BUILD:-build}/coterie}
[ -x "$coterie" ] || coterie=coterie
run=${RUN:-runs/demo}
if [ -e "$run" ]; then
    echo "$run is there already; remove it, or choose another: make demo RUN=runs/other" >&2
    exit 1
fi
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR-}" ] || say() { printf '\n%s\n' "$*"; }

say "1. Training a mixture of experts on four kinds of text (coterie train)"
"$coterie" train --out "$run" "$@" >/dev/null

say "2. How well does it predict text it never saw, and which expert takes which text? (coterie eval $run)"
"$coterie" eval "$run"

say "3. What it writes (coterie generate $run)"
for prompt in 'ROMEO:' 'Y dijo Dios' 'static int'; do
    printf '\n--- %s\n' "$prompt"
    "$coterie" generate "$run" "$prompt" --max-tokens 60 --temperature 0.8 --seed 1
    echo
done

say "4. Pictures (coterie plot $run)"
"$coterie" plot "$run"
printf '\nGo on: %s generate %s "your prompt" --explain   |   %s info %s   |   %s list routers\n' "$coterie" "$run" "$coterie" "$run" "$coterie"
