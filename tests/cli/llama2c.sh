#!/usr/bin/env bash
# Checkpoints of llama2.c: logits as its rules give them, broken files refused, and the story that stories260K is known for.
set -eu
source "$2/tests/cli/helpers.bash"
oracle() { python3 "$source_dir/tests/cli/llama2c_oracle.py" "$@" || fail "llama2c_oracle.py $*"; }

# write SEED WIDTH HIDDEN LAYERS HEADS KEY_HEADS VOCABULARY CONTEXT
echo '[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]' >ids.json
i=0
for sizes in "24 20 2 4 2 11 16" "24 20 2 3 1 -13 16" "8 12 1 1 1 10 12"; do
    oracle write model.bin $((i += 1)) $sizes
    expect 0 eval model.bin --tokens ids.json --logits logits.safetensors
    oracle check model.bin ids.json logits.safetensors
done
oracle write model.bin 1 24 20 2 4 2 11 16
expect 0 info model.bin
out_has "lm of width 24, 2 layers (0 sparse), 11 symbols"
out_has "attention with 4 heads of 6 over 2 key heads; dense SwiGLU of 20"
refuses "no tokenizer" generate model.bin

# Broken files: one line, wherever it breaks.
head -c -1 model.bin >short.bin
refuses "'short.bin' has 27291 bytes, expected 27292 for the sizes in its header" info short.bin
(cat model.bin; printf x) >long.bin
refuses "'long.bin' has 27293 bytes, expected 27292" info long.bin
head -c 20 model.bin >header.bin
refuses "'header.bin' has 20 bytes, expected a llama2.c checkpoint" info header.bin
: >empty.bin
refuses "'empty.bin' has 0 bytes" info empty.bin
# patched PLACE VALUE: one number of the header is another.
patched() { python3 -c 'import struct, sys; d = bytearray(open("model.bin", "rb").read()); struct.pack_into("<i", d, 4 * int(sys.argv[1]), int(sys.argv[2])); open("bad.bin", "wb").write(d)' "$@"; }
patched 0 0 && refuses "its header says width 0, expected 1 to" info bad.bin
patched 2 2000000000 && refuses "its header says layers 2000000000, expected 1 to" info bad.bin
patched 3 5 && refuses "5 heads over 2 key heads in a width of 24" info bad.bin
patched 4 3 && refuses "4 heads over 3 key heads" info bad.bin
patched 5 -2147483648 && refuses "its header says vocabulary 2147483648" info bad.bin
patched 6 16777216 && refuses "expected 402" info bad.bin
patched 0 1634415666 && refuses "a llama2.c checkpoint of version 20, expected version 0" info bad.bin
python3 -c 'import struct; open("vast.bin", "wb").write(struct.pack("<7i", *[1 << 24] * 2, 1 << 24, 1, 1, 1 << 24, 1 << 24))'
refuses "'vast.bin' has 28 bytes, expected" info vast.bin

# The tokenizer beside a checkpoint: 265 symbols, pieces with scores; a text that is scored begins and ends with its begin of text.
oracle write spoken.bin 3 8 12 1 2 1 265 16
refuses "no tokenizer" generate spoken.bin
cp "$source_dir/tests/fuzz/corpus/llama2c_tokenizer/whole" tok265.bin
expect 0 generate spoken.bin "b a" -n 5 --temperature 0 -q
[ "$(head -c 3 out)" = "b a" ] || fail "the text does not begin with the prompt"
printf 'a b a\n\303\251 b\n' >text.txt
expect 0 eval spoken.bin --data text.txt --json
python3 -c 'import json; e = json.load(open("out")); assert e["bytes"] == 11 and e["tokens"] >= 7, e' || fail "other bytes are scored"
head -c -1 tok265.bin >cut && mv cut tok265.bin
refuses "tok265.bin: piece 264, at byte" generate spoken.bin
rm tok265.bin
cp "$source_dir/tests/fuzz/corpus/llama2c_tokenizer/few" tokenizer.bin
refuses "tokenizer.bin has 1 pieces, expected more than 258" generate spoken.bin
oracle write small.bin 3 8 12 1 2 1 100 16
cp "$source_dir/tests/fuzz/corpus/llama2c_tokenizer/whole" tokenizer.bin
refuses "tokenizer.bin has 265 symbols, the model beside it 100" generate small.bin
refuses "'text.txt' is a file; expected a model folder, or a checkpoint of llama2.c (.bin)" generate text.txt

# A checkpoint is trained on, with its tokenizer; nothing of it is needed to go on.
cp "$source_dir/tests/fuzz/corpus/llama2c_tokenizer/whole" tok265.bin
rm tokenizer.bin
make_corpus
sed 's|tokenizer: {[^}]*}, ||' tiny.yaml >on.yaml
expect 0 train on.yaml --from spoken.bin --out on -q --set train.steps=3 --set data.context=16
expect 0 eval spoken.bin --data text.txt --json
cp out before
expect 0 train on.yaml --from spoken.bin --out same -q --set train.steps=1 --set data.context=16 --set "train.freeze=['*', '!final_norm.weight']" --set train.optimizer.lr=0
expect 0 eval same --data text.txt --json
python3 - <<'PYTHON'
import json
before, after = (json.load(open(f)) for f in ("before", "out"))
assert before["tokens"] == after["tokens"] and abs(before["loss"] - after["loss"]) < 1e-6, (before["loss"], after["loss"])
PYTHON
mv spoken.bin moved.bin
expect 0 train --resume on -q --set train.steps=5
refuses "'moved.bin' has 'layers.0.ffn.gate_up.weight'" train on.yaml --from moved.bin --out bad -q --set model.ffn.intermediate_size=32 --set data.context=16
rm tok265.bin
refuses "'moved.bin': no tok265.bin or tokenizer.bin beside it" train on.yaml --from moved.bin --out bad -q --set data.context=16
[ ! -e bad ] || fail "something was written"

# stories260K goes on as llama2.c itself does: the text that its own tests expect of 200 tokens.
if [ -d "${COTERIE_SHARED-}/data/models/stories260K" ]; then
    expect 0 generate "$COTERIE_SHARED/data/models/stories260K/stories260K.bin" --temperature 0 -n 200 -q
    cat >story <<'TEXT'
Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high.
Lily's mom said, "Lily, let's go to the park." Lily was sad and didn't know what to do. She said, "I want to play with your ball, but I can't find it."
Lily was sad and didn't know what to do. She said, "I'm sorry, Lily. I didn't know what to do."
Lily didn't want to help her mom, so she
TEXT
    cmp out story || fail "another story"
fi
echo "checkpoints of llama2.c are read as they are"
