/* What a shell may offer for the word being typed: `coterie --complete WORDS...`, the last word being that one. */
#ifndef COTERIE_APP_COMPLETE_H
#define COTERIE_APP_COMPLETE_H

#include "cli.h"

/* Prints candidates, one a line: "WORD\tWHAT IT IS". A word that ends in '.', '=' or '/' goes on without a space. The
 * lines ":files" and ":folders" ask the shell for its own. Never fails: where nothing is known, nothing is printed. */
int complete(const cli_command *const *commands, int count, char **words);

/* ---- between complete.c and complete_setting.c ---- */

/* Candidates for the word `typed`, whose part from `skip` on is "train.optimizer.l" or "train.batch=": KEY=VALUE of
 * --set. `recipe` (borrowed, may be NULL) tells the kinds and lists that stand there already. */
void complete_setting(const cot_config *recipe, const char *typed, size_t skip);

/* Prints the candidate `before` + `word` when it goes on with what is typed. `what` may be NULL. */
void complete_offer(const char *typed, const char *before, const char *word, const char *what);

/* The same for every member of a family (its plural name). */
void complete_offer_members(const char *typed, const char *before, const char *family);

/* The same for each word of "a|b|c"; `fallback` (may be NULL) is called the default. */
void complete_offer_choices(const char *typed, const char *before, const char *choices, const char *fallback);

#endif
