/* What a run of a claim measures. Loads and the like are means over the sparse layers. */
#ifndef COT_STUDY_CLAIM_MEASURES_H
#define COT_STUDY_CLAIM_MEASURES_H

/* name, decimals, meaning */
#define COT_CLAIM_MEASURES(X)                                                                                               \
    X(loss, 4, "nats per token of held-out text")                                                                           \
    X(perplexity, 2, "exp(loss)")                                                                                           \
    X(bits_per_byte, 4, "of held-out text")                                                                                 \
    X(early_loss, 4, "mean training loss over the second tenth of the steps")                                               \
    X(late_loss, 4, "mean training loss over the last tenth of the steps")                                                  \
    X(cv_importance, 3, "coefficient of variation of the experts' sums of gates, held-out text")                            \
    X(cv_load, 3, "coefficient of variation of the experts' numbers of tokens, held-out text")                              \
    X(max_over_mean, 2, "tokens of the busiest expert over the mean, held-out text")                                        \
    X(max_vio, 2, "max_over_mean - 1")                                                                                      \
    X(early_max_vio, 2, "max_vio of a training batch, mean over the second tenth of the steps")                             \
    X(late_max_vio, 2, "max_vio of a training batch, mean over the last tenth of the steps")                                \
    X(drop_fraction, 4, "choices that found no free slot, of all; held-out text")                                           \
    X(early_drops, 4, "the same in training, mean over the first tenth of the steps")                                       \
    X(late_drops, 4, "the same in training, mean over the last tenth of the steps")                                         \
    X(usage, 4, "experts that held-out text used, of all")                                                                  \
    X(unevenness, 3, "divergence of the experts' shares of all gates from even ones, held-out text, nats")                  \
    X(unevenness_bias, 3, "unevenness that as few choices would show of an even router")                                    \
    X(router_entropy, 3, "of a token's probabilities, mean, nats")                                                          \
    X(leak, 4, "nats per token that a prediction loses when the tokens after the predicted place are exchanged; 0 in a causal model") \
    X(seconds, 1, "of training and evaluation")                                                                             \
    X(cpu_seconds, 1, "processor time of training and evaluation, all threads together")                                    \
    X(tokens_per_cpu_s, 0, "trained on in a second of processor time")

typedef enum {
#define X(name, decimals, help) COT_MEASURE_##name,
    COT_CLAIM_MEASURES(X)
#undef X
    COT_MEASURE_COUNT
} cot_measure;

#endif
