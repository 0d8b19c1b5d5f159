/* GPT-2's byte alphabet: a visible character for each of the 256 bytes, so that a token of any bytes can be written as
 * text (a space is written 'Ġ'). A token's text in this alphabet is called its key here; tokenizer.json holds keys. */
#ifndef COT_DATA_TOKENIZERS_BYTE_ALPHABET_H
#define COT_DATA_TOKENIZERS_BYTE_ALPHABET_H

#include <stddef.h>
#include <stdint.h>

/* Writes the byte's character in UTF-8; the number of bytes written, 1 or 2. */
size_t cot_byte_to_key(unsigned char byte, char key[2]);

/* Turns a key into the bytes that it stands for, at most `length` of them; their number, or -1 when a character is
 * not of the alphabet. */
int64_t cot_key_to_bytes(const char *key, size_t length, char *bytes);

/* The bytes in the order of their characters' code points: '!' is first. */
void cot_byte_alphabet_order(unsigned char order[256]);

#endif
