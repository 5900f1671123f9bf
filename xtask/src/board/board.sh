# Answers what is asked over ssh as a board would: the machine's name is the first argument, its
# home the second, and the rest is what runs programs of its architecture.
set -f
machine=$1
cd "$2" || exit
export HOME="$2"
shift 2
case $SSH_ORIGINAL_COMMAND in
"uname -m") echo "$machine" ;;
# Unquoted, so that it becomes words: the command has no others than such a shell would make.
.cache/*/bantam\ *) exec "$@" $SSH_ORIGINAL_COMMAND ;;
*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;
esac
