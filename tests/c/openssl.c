/*
 * openssl: a host that is linked with OpenSSL and uses it while the library uses its own TLS. Started as
 * openssl RELAY PROJECT SECRET CHAIN KEY, with a relay that encrypts. One thread shakes hands with itself by OpenSSL, over
 * and over, while commands and buffers go through the relay.
 */
#define _POSIX_C_SOURCE 200809L

#include "count.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static struct counter shaken = COUNTER_INIT;
static struct counter stops = COUNTER_INIT;
static SSL_CTX *server_context, *client_context;

/* A handshake and some bytes between two ends in memory. */
static void shake_hands(void)
{
    char got[64];
    BIO *to_server, *to_client;
    SSL *server = SSL_new(server_context), *client = SSL_new(client_context);
    int i;
    CHECK(server != NULL && client != NULL && BIO_new_bio_pair(&to_client, 0, &to_server, 0) == 1);
    SSL_set_bio(server, to_client, to_client);
    SSL_set_bio(client, to_server, to_server);
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (i = 0; i < 20 && !(SSL_is_init_finished(server) && SSL_is_init_finished(client)); i++) {
        SSL_do_handshake(client);
        SSL_do_handshake(server);
    }
    CHECK(SSL_is_init_finished(server) && SSL_is_init_finished(client));
    CHECK(SSL_write(client, "by OpenSSL", 11) == 11);
    CHECK(SSL_read(server, got, sizeof got) == 11 && strcmp(got, "by OpenSSL") == 0);
    SSL_free(server);
    SSL_free(client);
}

static void *shake_for_ever(void *unused)
{
    (void)unused;
    while (counter_get(&stops) == 0) {
        shake_hands();
        counter_add(&shaken, 1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static char content[300000];
    CRVideo_Session alice;
    pthread_t thread;
    long i;
    CHECK(argc == 6);
    check_begin(argc, argv);
    server_context = SSL_CTX_new(TLS_server_method());
    client_context = SSL_CTX_new(TLS_client_method());
    CHECK(server_context != NULL && client_context != NULL);
    CHECK(SSL_CTX_use_certificate_chain_file(server_context, argv[4]) == 1);
    CHECK(SSL_CTX_use_PrivateKey_file(server_context, argv[5], SSL_FILETYPE_PEM) == 1);
    CHECK(SSL_CTX_load_verify_locations(client_context, getenv("CRVIDEO_TEST_CA"), NULL) == 1);
    SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
    shake_hands();
    CHECK(pthread_create(&thread, NULL, shake_for_ever, NULL) == 0);
    for (i = 1; i <= 5; i++) {
        alice = count_session(0, "alice");
        CHECK_OK(CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL));
        CHECK_OK(CRVideo_SendBuffer(alice, "alice", content, sizeof content, NULL, NULL, NULL));
        WAIT_FOR(ended, 2 * i);
        WAIT_FOR(received, 2 * i);
        CHECK_OK(CRVideo_Destroy(alice));
        WAIT_FOR(shaken, 5 * i);
    }
    counter_add(&stops, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(ERR_peek_error() == 0);
    printf("%ld handshakes by OpenSSL meanwhile\n", counter_get(&shaken));
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    return 0;
}
