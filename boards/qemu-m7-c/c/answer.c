/* A sentence to a device command, in C: what a vendor's SDK, Zephyr or FreeRTOS would run as a
 * task. Only bantam.h is needed, and no C library. */

#include "bantam.h"

/* What the library was compiled with, the compiler of this file must agree with. */
_Static_assert(sizeof(bantam_options) == 12, "three words, without gaps");
_Static_assert(offsetof(bantam_options, n_batch) == 4, "the second word");
_Static_assert(offsetof(bantam_options, cache) == 8, "the third word");
_Static_assert(sizeof(bantam_status) == 4, "a word");
_Static_assert(sizeof(bool) == 1, "a byte");

/* A product would use its linker map; see bantam_memory. */
static uint8_t memory[640 * 1024];
static uint8_t scratch[4096];
static uint32_t tokens[128];

/* Takes in some tokens; a watchdog would be fed after each step. */
static bantam_status take_in(bantam_session *session, const uint32_t *some, size_t n)
{
    bool done = false;
    bantam_status status = bantam_start(session, some, n);
    while (status == BANTAM_STATUS_OK && !done)
        status = bantam_step(session, &done);
    return status;
}

/* Writes the command that `sentence` asks for to `json`, and its length to `json_len`. */
bantam_status answer(const uint8_t *model, size_t model_len, const uint8_t *sentence,
                     size_t sentence_len, uint8_t *json, size_t max_json, size_t *json_len);

bantam_status answer(const uint8_t *model, size_t model_len, const uint8_t *sentence,
                     size_t sentence_len, uint8_t *json, size_t max_json, size_t *json_len)
{
    const bantam_options options = { .n_ctx = 300, .n_batch = 1, .cache = 0 };
    bantam_session *session;
    bantam_status status;
    size_t needed, n;
    bool whole = false;

    if (bantam_abi() != BANTAM_ABI)
        return BANTAM_STATUS_ARGUMENT;
    status = bantam_memory(model, model_len, &options, &needed);
    if (status != BANTAM_STATUS_OK)
        return status;
    if (needed > sizeof memory)
        return BANTAM_STATUS_MEMORY;
    status = bantam_open(model, model_len, &options, memory, needed, &session);
    if (status != BANTAM_STATUS_OK)
        return status;

    status = bantam_encode(session, sentence, sentence_len, scratch, sizeof scratch, tokens,
                           sizeof tokens / sizeof *tokens, &n);
    if (status == BANTAM_STATUS_OK)
        status = take_in(session, tokens, n);
    if (status == BANTAM_STATUS_OK)
        status = bantam_answer_begin(session);

    *json_len = 0;
    while (status == BANTAM_STATUS_OK) {
        uint32_t token;
        size_t bytes;

        status = bantam_answer_next(session, &token, &whole);
        if (status != BANTAM_STATUS_OK)
            break;
        status = bantam_token_text(session, token, json + *json_len, max_json - *json_len, &bytes);
        if (status != BANTAM_STATUS_OK)
            break;
        *json_len += bytes;
        if (whole)
            break;
        status = take_in(session, &token, 1);
    }
    return status;
}
