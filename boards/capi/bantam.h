/* Bantam's core for firmware in C. Made by cbindgen from boards/capi/src. */

#ifndef BANTAM_H
#define BANTAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 Changes whenever a function or a type here does so that callers must be compiled again.
 */
#define BANTAM_ABI 1

/*
 What a call came to.
 */
enum bantam_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   It did what it says.
   */
  BANTAM_STATUS_OK = 0,
  /*
   The file is no GGUF file, or a damaged one.
   */
  BANTAM_STATUS_FILE = 10,
  /*
   The file is no model that can be run.
   */
  BANTAM_STATUS_MODEL = 11,
  /*
   The engine refused: tokens are pending, or one is not of the vocabulary.
   */
  BANTAM_STATUS_ENGINE = 12,
  /*
   The model has no tokenizer that can be used, or the text cannot be encoded.
   */
  BANTAM_STATUS_TOKENIZER = 13,
  /*
   The model has no schema for its answers, or none was begun.
   */
  BANTAM_STATUS_SCHEMA = 14,
  /*
   A pointer is null, an option is out of range, or text is not UTF-8.
   */
  BANTAM_STATUS_ARGUMENT = 15,
  /*
   The memory lent, or the room for a result, is too small.
   */
  BANTAM_STATUS_MEMORY = 16,
  /*
   The context is full.
   */
  BANTAM_STATUS_CONTEXT_FULL = 17,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bantam_status bantam_status;
#else
typedef int32_t bantam_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 A model at work, in memory that the caller lent.
 */
typedef struct bantam_session bantam_session;

/*
 What to plan for.
 */
typedef struct bantam_options {
  /*
   Tokens of context.
   */
  uint32_t n_ctx;
  /*
   Tokens of a prompt that are worked on together; 1 takes the least memory.
   */
  uint32_t n_batch;
  /*
   How keys and values are stored: 0 half floats, 1 single floats, 2 integers of 8 bits.
   */
  uint32_t cache;
} bantam_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Returns the interface's number; compare it with `BANTAM_ABI`.
 */
uint32_t bantam_abi(void);

/*
 Writes to `bytes` how much memory the model in `file` takes, at any alignment.

 `file` must hold `file_len` bytes; `options` and `bytes` must be valid.
 */
bantam_status bantam_memory(const uint8_t *file,
                            size_t file_len,
                            const struct bantam_options *options,
                            size_t *bytes);

/*
 Opens the model in `file` in `memory`, and writes to `session` what the other functions take.

 `file` must hold `file_len` bytes that stay as they are, and `memory` must be `memory_len`
 bytes that nobody else uses, for as long as the session is used. There is nothing to close.
 */
bantam_status bantam_open(const uint8_t *file,
                          size_t file_len,
                          const struct bantam_options *options,
                          uint8_t *memory,
                          size_t memory_len,
                          struct bantam_session **session);

/*
 Returns the bytes of scratch that encoding `text_len` bytes of text takes at most.

 `session` must come from `bantam_open`.
 */
size_t bantam_encode_scratch(const struct bantam_session *session, size_t text_len);

/*
 Encodes `text`, which is UTF-8 and read as plain text, into `tokens`, `max_tokens` at most, and
 writes their number to `n_tokens`.

 `session` must come from `bantam_open`; `text`, `scratch` and `tokens` must be as long as said.
 */
bantam_status bantam_encode(const struct bantam_session *session,
                            const uint8_t *text,
                            size_t text_len,
                            uint8_t *scratch,
                            size_t scratch_len,
                            uint32_t *tokens,
                            size_t max_tokens,
                            size_t *n_tokens);

/*
 Hands over tokens to be taken in by `bantam_step`.

 `session` must come from `bantam_open`; `tokens` must be as long as said.
 */
bantam_status bantam_start(struct bantam_session *session, const uint32_t *tokens, size_t n_tokens);

/*
 Does a bounded piece of the pending work, and writes to `done` whether none is left.

 `session` must come from `bantam_open`; `done` must be valid.
 */
bantam_status bantam_step(struct bantam_session *session, bool *done);

/*
 Writes to `logits` where those behind the last token are, and their number to `n_logits`. They
 stay until the next token is taken in.

 `session` must come from `bantam_open`; `logits` and `n_logits` must be valid.
 */
bantam_status bantam_logits(const struct bantam_session *session,
                            const float **logits,
                            size_t *n_logits);

/*
 Forgets every position from `pos` on.

 `session` must come from `bantam_open`.
 */
bantam_status bantam_truncate(struct bantam_session *session, size_t pos);

/*
 Begins an answer in the form of the model's schema.

 `session` must come from `bantam_open`.
 */
bantam_status bantam_answer_begin(struct bantam_session *session);

/*
 Chooses the answer's next token from the logits and writes it to `token`, and to `whole` whether
 the answer is whole with it. If not, it is to be taken in before the next is chosen.

 `session` must come from `bantam_open`; `token` and `whole` must be valid.
 */
bantam_status bantam_answer_next(struct bantam_session *session, uint32_t *token, bool *whole);

/*
 Writes the bytes that a token adds to a text to `text`, `max_bytes` at most, and their number to
 `n_bytes`. A token can end inside a character.

 `session` must come from `bantam_open`; `text` must be as long as said, `n_bytes` valid.
 */
bantam_status bantam_token_text(const struct bantam_session *session,
                                uint32_t token,
                                uint8_t *text,
                                size_t max_bytes,
                                size_t *n_bytes);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BANTAM_H */
