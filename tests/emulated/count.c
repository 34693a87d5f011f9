/* A QEMU plugin that counts the instructions between marks which the program sets.
 *
 * The program marks a place by getpriority(MARK, number), which the kernel refuses without doing anything. For
 * each mark a line goes to the file named by out=FILE: the number, and the instructions since the mark before.
 * One counter for all threads, and not an atomic one: only one thread may be at work between two marks.
 *
 * Written to version 1 of the plugin interface (QEMU 4.2 to 8.1), of which no header is packaged: what is
 * needed of it is declared here.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define GETPRIORITY 141 /* of arm64 */
#define MARK 0xED6E

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum qemu_plugin_op { INLINE_ADD_U64 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t));

EXPORT int qemu_plugin_version = 1;

static uint64_t instructions, before;
static FILE *out;

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &instructions, qemu_plugin_tb_n_insns(block));
}

static void called(plugin_id id, unsigned int cpu, int64_t number, uint64_t which, uint64_t who, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id; (void)cpu; (void)c; (void)d; (void)e; (void)f; (void)g; (void)h;
    if (number != GETPRIORITY || which != MARK)
        return;
    fprintf(out, "%" PRIu64 " %" PRIu64 "\n", who, instructions - before);
    fflush(out);
    before = instructions;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || !(out = fopen(argv[0] + 4, "w")))
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
