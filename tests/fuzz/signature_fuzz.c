/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature_fuzz.c - libFuzzer target for the signature block. The fuzzer has no trusted key, so whatever it makes is never
 * accepted where signatures are required; and a block put behind its bytes is right until one byte is changed.
 */
#include <string.h>

#include "sched/trust/signature.h"
#include "sched/trust/trust.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct secret_key key; /* made once, so that a run is quick */
	static struct trust trust = {.rule = TRUST_SIGNED, .keys.count = 1};
	struct trust_verdict verdict;
	struct signatures s;
	struct error e = {""};
	uint8_t *out;
	size_t out_size;

	if (key.public.name[0] == '\0') {
		must(key_make("fuzz", &key, NULL) == 0);
		trust.keys.key[0] = key.public;
	}
	must(trust_check(&trust, data, size, "fuzz", PLACE_OPERATOR, &verdict, &e) < 0 && e.text[0] != '\0');
	if (signatures_read(data, size, "fuzz", &s, &e) < 0)
		return 0;
	must(s.image_size <= size && s.count <= SIGNATURES_MAX);
	if (signatures_add(data, size, "fuzz", &key, &out, &out_size, &e) < 0)
		return 0;
	must(trust_check(&trust, out, out_size, "fuzz", PLACE_ELSEWHERE, &verdict, NULL) == 0);
	out[size % out_size] ^= 1;
	must(trust_check(&trust, out, out_size, "fuzz", PLACE_ELSEWHERE, &verdict, NULL) < 0);
	free(out);
	return 0;
}
