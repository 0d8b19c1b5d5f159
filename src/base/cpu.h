/* What the processor can do, found once at start; COTERIE_CPU=ref|avx2|avx512|avx512bf16 lowers it. */
#ifndef COT_BASE_CPU_H
#define COT_BASE_CPU_H

typedef enum { COT_CPU_REF, COT_CPU_AVX2, COT_CPU_AVX512, COT_CPU_AVX512BF16 } cot_cpu_level;

cot_cpu_level cot_cpu(void);              /* the level in force; a COTERIE_CPU beyond the machine is lowered to it */
const char   *cot_cpu_name(cot_cpu_level level);
const char   *cot_cpu_model(void);        /* marketing name, e.g. "AMD EPYC"; "unknown" where the system does not say */

#endif
