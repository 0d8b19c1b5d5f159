"""Types into an interactive shell with completion loaded, and prints the line that stands there then.

usage: type_into.py bash|zsh PROGRAM COMPLETION_FILE TYPED...     (\\t is the tabulator; one line of output for each TYPED)
"""
import os
import pty
import select
import sys

shell, program, script, *lines = sys.argv[1:]
WORDS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
# Loads completion, and binds Ctrl-X p to printing the line as it stands.
SETUP = {
    "bash": "bind -x '\"\\C-xp\": printf \"<<%s>>\" \"$READLINE_LINE\"'; source '{script}'",
    "zsh": "fpath=('{folder}' $fpath); autoload -U compinit; compinit -u -D; show() {{ print -rn -- \"<<$BUFFER>>\"; }};"
           " zle -N show; bindkey '^Xp' show; bindkey '^U' kill-whole-line",
}


def read_until(terminal, mark):
    text = b""
    while mark not in text:
        if not select.select([terminal], [], [], 60)[0]:
            sys.exit("%s is silent after: %r" % (shell, text))
        text += os.read(terminal, 65536)
    return text


process, terminal = pty.fork()
if process == 0:
    os.environ.update(TERM="dumb", PATH=os.path.dirname(program) + ":" + os.environ["PATH"], HISTFILE="")
    os.execvp(shell, WORDS[shell])
setup = SETUP[shell].format(script=script, folder=os.path.dirname(script))
os.write(terminal, ("PS1=; stty cols 1000; %s; echo rea''dy\n" % setup).encode())
read_until(terminal, b"ready\r\n")
for line in lines:
    os.write(terminal, line.replace("\\t", "\t").encode() + b"\x18p")
    text = read_until(terminal, b">>")
    print(text.split(b"<<")[-1].split(b">>")[0].decode())
    os.write(terminal, b"\x15")
os.close(terminal)
os.waitpid(process, 0)
