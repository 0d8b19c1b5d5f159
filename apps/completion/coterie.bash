# bash completion for coterie(1): asks the program, so that it always fits.

_coterie() {
    local word line typed='' part quote='' candidates files='' words=()
    # readline cuts words at = and :, unless they stand in quotes; here they are whole.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ ${#words[@]} -gt 0 && ( $word == [=:]* || ${words[-1]} == *[=:] ) ]]; then words[-1]+=$word
        else words+=("$word"); fi
    done
    [[ ${#words[@]} -eq 0 ]] || typed=${words[-1]}
    typed=${typed//\\/}
    if [[ $typed == [\'\"]* ]]; then quote=${typed:0:1} typed=${typed:1}; fi
    part=$typed
    [[ $quote ]] || part=${typed##*[=:]}  # what readline will replace
    words[-1]=$typed
    COMPREPLY=()
    candidates=$("$1" --complete "${words[@]}" 2>/dev/null) || return
    while IFS= read -r line; do
        case $line in
        '') ;;
        :files) compopt -o filenames; while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$part") ;;
        :folders) compopt -o filenames; while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "$part") ;;
        *)
            word=${line%%$'\t'*}
            [[ $word != *[.=] ]] || compopt -o nospace
            word=${word#"${typed%"$part"}"}
            [[ $quote ]] || printf -v word %q "$word"
            COMPREPLY+=("$word") ;;
        esac
    done <<<"$candidates"
}
complete -F _coterie coterie
