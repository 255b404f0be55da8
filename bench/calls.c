// A library's own translation of one address, called in a loop: what it costs without Python around each call.

#include <stdint.h>
#include <time.h>

typedef int (*translation)(void *engine, uint64_t va, uint32_t rights, uint64_t *pa);

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

// Every address's translation, 0 where the library gives an error; the nanoseconds that it took.
int64_t time_calls(translation translate, void *engine, uint32_t rights, const uint64_t *vas, uint64_t count,
                   uint64_t *pas) {
    int64_t start = now();
    for (uint64_t i = 0; i < count; i++)
        if (translate(engine, vas[i], rights, &pas[i]))
            pas[i] = 0;
    return now() - start;
}
