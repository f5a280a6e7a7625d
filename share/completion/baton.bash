# SPDX-License-Identifier: Apache-2.0
# baton.bash - completion for bash. Words come from the program's own help, so they are those of the installed version.

# The names in the lists of a help text: lines of two blanks and a word.
_baton_words() {
	"$@" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p'
}

_baton_vms() {
	baton ls --json 2>/dev/null | sed -n 's/^ *"name": "\([^"]*\)".*/\1/p'
}

_baton() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' words='' i

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket) i=$((i + 1)) ;;
		-*) ;;
		*) command=${COMP_WORDS[i]} && break ;;
		esac
	done
	COMPREPLY=()
	case $prev in
	--socket | --kernel | --initrd | --image | --report | --dir | --guests | --images | --nano-dir | --html | --svg)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	esac
	if [[ -z $command ]]; then
		words="$(_baton_words baton | grep -vx 'baton') --socket --help --version"
	elif [[ $cur == -* ]]; then
		words="$(baton "$command" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*' | sort -u)"
	elif ((COMP_CWORD == i + 1)); then
		case $command in
		console | pause | resume | registers | stop | destroy) words=$(_baton_vms) ;;
		help) words=$(_baton_words baton | grep -vx 'baton') ;;
		*) words=$(_baton_words baton "$command") ;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	((${#COMPREPLY[@]} > 0)) || [[ $cur == -* || -z $command ]] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

complete -F _baton baton
