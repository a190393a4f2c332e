/* Pictures of bytes, by a table of what each of the 256 becomes, into maps laid out (B, H, W, C) of 16-bit numbers: what
 * PyTorch does in four passes over maps of float. Plain C, for any CPU. */
#include <stdint.h>

#define BLOCK 4096 /* places that a thread takes at a time */

/* A picture's byte of channel c and place p is at c * to_channel + p * to_place. */
void pixels(const uint8_t *from, uint16_t *to, const uint16_t *table, int64_t pictures, int64_t channels, int64_t places,
            int64_t to_channel, int64_t to_place, int threads) {
    const int64_t blocks = (places + BLOCK - 1) / BLOCK;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < pictures * blocks; at++) {
        const int64_t picture = at / blocks * channels * places, begin = at % blocks * BLOCK;
        const int64_t end = begin + BLOCK < places ? begin + BLOCK : places;
        if (channels == 3) { /* nearly always */
            const uint8_t *red = from + picture, *green = red + to_channel, *blue = green + to_channel;
            for (int64_t p = begin; p < end; p++) {
                uint16_t *of = to + picture + 3 * p;
                of[0] = table[red[p * to_place]], of[1] = table[green[p * to_place]], of[2] = table[blue[p * to_place]];
            }
        } else
            for (int64_t p = begin; p < end; p++)
                for (int64_t c = 0; c < channels; c++)
                    to[picture + p * channels + c] = table[from[picture + c * to_channel + p * to_place]];
    }
}
