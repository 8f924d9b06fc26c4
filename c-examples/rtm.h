/*
 * rtm.h: what the RTM examples share and none of them is about: reading the arguments that all of them take.
 *
 *     GATE PROJECT SECRET ...
 *
 * GATE is the address of an RTM server gate, "host:port": this project's relay, or any other RTM server. SECRET is the
 * project's secret, or "@FILE" for a file whose first line is the secret, so that it does not stand in the process list.
 */
#ifndef RTM_EXAMPLE_H
#define RTM_EXAMPLE_H

#include "example.h"

/* A number of 64 bits; ends the program where there is none. */
static inline int64_t rtm_number(const char *text)
{
    char *end;
    long long number;
    errno = 0;
    number = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0) {
        fprintf(stderr, "%s: this must be a number\n", text);
        exit(EXIT_FAILURE);
    }
    return (int64_t)number;
}

/* Reads argv[1] to argv[3] and creates a client; ends the program when it cannot. */
static inline RTM_Client rtm_client(char **argv)
{
    RTM_Config config;
    RTM_Client client;
    CRVideo_Err err;

    RTM_ConfigInit(&config);
    config.endpoint = argv[1];
    config.project = (int32_t)rtm_number(argv[2]);
    config.secret = argv[3][0] == '@' ? example_first_line(argv[3] + 1) : argv[3];
    err = RTM_Create(&config, &client);
    if (err != CRVideo_NOERR)
        exit(example_failed("create", err));
    return client;
}

/* Prints what went wrong, in the server's words; returns the exit status for main(). */
static inline int rtm_failed(const char *what, CRVideo_Err err, const char *text)
{
    fprintf(stderr, "%s: ", what);
    example_print_text(stderr, text);
    fprintf(stderr, " (error %d: %s)\n", err, CRVideo_ErrText(err));
    return EXIT_FAILURE;
}

#endif
