/* The short way to the host, where the engine shares its files: a Unix socket that it has mounted into the container. */
#ifndef EFFECT_SANDBOX_DIRECT_H
#define EFFECT_SANDBOX_DIRECT_H

/*
 * Connects to the host's socket, which then takes the place of standard input and output. `lease` becomes the former
 * standard input, whose end has to be noticed as before. Gives errno, and nothing has changed, when that is not possible.
 */
int direct_take(const char *path, int *lease);

#endif
