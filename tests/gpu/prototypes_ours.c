/*
 * prototypes_ours.c: the layout of our own structs, for prototypes.c, which has NVIDIA's.
 */
#include "driver_api.h"
#include "prototypes_layout.h"

const size_t weft_our_layout[LAYOUT_COUNT] = { LAYOUT };
