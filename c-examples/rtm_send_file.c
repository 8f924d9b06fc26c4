/*
 * rtm_send_file: a server sends a file to a user, and waits until the RTM server has it.
 *
 * Shows: a call that waits. With no callback it returns when it has ended, and the result says everything: the message's
 * id and time, or the server's number and words. Token, connection and upload share one time-out.
 *
 * Usage: rtm_send_file GATE PROJECT SECRET FROM TO FILE
 *        rtm_send_file 127.0.0.1:13315 1 @secret.txt 100 200 report.pdf
 */
#define _POSIX_C_SOURCE 200809L

#include "rtm.h"

int main(int argc, char **argv)
{
    RTM_CallOptions options;
    RTM_SendResult result;
    RTM_Client client;
    RTM_File file;
    int status = EXIT_SUCCESS;

    if (argc != 7) {
        fprintf(stderr, "usage: %s GATE PROJECT SECRET FROM TO FILE\n", argv[0]);
        return EXIT_FAILURE;
    }
    client = rtm_client(argv);

    RTM_FileInit(&file);
    file.path = argv[6];                  /* streamed, however large; `data` and `len` would send memory */
    file.attrs = "{\"from\":\"example\"}"; /* for the receiving application: text or a JSON object */
    RTM_CallOptionsInit(&options);
    options.timeout_ms = 120000;
    RTM_SendResultInit(&result);

    if (RTM_SendFile(client, rtm_number(argv[4]), rtm_number(argv[5]), RTM_MTYPE_FILE, &file, &options, NULL, NULL,
                     &result) == CRVideo_NOERR)
        printf("sent: mid %lld, mtime %lld\n", (long long)result.mid, (long long)result.mtime);
    else
        status = rtm_failed(argv[6], result.err, result.text);

    RTM_Destroy(client);
    return status;
}
