/* Writes text by a character model that minirnn convert made writer.c of: ./write "The " 200 */
#include "writer.h"
#include <stdio.h>
#include <stdlib.h>

static writer_state state;

int main(int count, char **words) {
    const char *prompt = count > 1 ? words[1] : "The ";
    const int length = count > 2 ? atoi(words[2]) : 200;
    uint32_t seed = 2463534242u;
    float logits[WRITER_OUTPUTS] = {0};
    char utf8[4];

    writer_reset(&state);
    for (; *prompt; prompt++) { /* bytes of ASCII; other characters take a decoder of UTF-8 */
        writer_step(&state, writer_encode((unsigned char)*prompt), logits);
        putchar(*prompt);
    }
    for (int k = 0; k < length; k++) {
        const int next = writer_draw(logits, 0.7f, &seed);
        fwrite(utf8, 1, (size_t)writer_decode(next, utf8), stdout);
        writer_step(&state, next, logits);
    }
    putchar('\n');
    return 0;
}
