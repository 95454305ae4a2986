/* What the system's own libudev says, for tests/against_the_real_one.rs to compare with.
 *
 * usage: oracle LIBRARY dump            every device with all that is known of it
 *        oracle LIBRARY find WORD=...   syspaths by conditions
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

typedef void *P;
static void *library;

static void *symbol(const char *name) {
    void *found = dlsym(library, name);
    if (!found) { fprintf(stderr, "no %s\n", name); exit(2); }
    return found;
}
#define TEXT(name, of) ((const char *(*)(P))symbol("udev_" name))(of)
#define POINTER(name, of) ((P (*)(P))symbol("udev_" name))(of)
#define CONDITION(name, e, a) ((int (*)(P, const char *))symbol("udev_enumerate_add_" name))(e, a)
#define CONDITION2(name, e, a, b) ((int (*)(P, const char *, const char *))symbol("udev_enumerate_add_" name))(e, a, b)

static void show(const char *key, const char *value) {
    printf("%s=", key);
    if (!value) { puts("NULL"); return; }
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if (*c < 32 || *c > 126 || *c == '\\') printf("\\%02x", *c); else putchar(*c);
    putchar('\n');
}

static P list_next(P entry) { return POINTER("list_entry_get_next", entry); }
static const char *name_of(P entry) { return TEXT("list_entry_get_name", entry); }

static void dump(P udev, const char *syspath) {
    char key[4096], number[64];
    P d = ((P (*)(P, const char *))symbol("udev_device_new_from_syspath"))(udev, syspath);
    if (!d) return;
    show("device", TEXT("device_get_syspath", d));
    show("devpath", TEXT("device_get_devpath", d));
    show("subsystem", TEXT("device_get_subsystem", d));
    show("sysname", TEXT("device_get_sysname", d));
    show("sysnum", TEXT("device_get_sysnum", d));
    show("devtype", TEXT("device_get_devtype", d));
    show("devnode", TEXT("device_get_devnode", d));
    show("driver", TEXT("device_get_driver", d));
    show("action", TEXT("device_get_action", d));
    dev_t devnum = ((dev_t (*)(P))symbol("udev_device_get_devnum"))(d);
    sprintf(number, "%u:%u", major(devnum), minor(devnum));
    show("devnum", number);
    P parent = POINTER("device_get_parent", d);
    show("parent", parent ? TEXT("device_get_syspath", parent) : NULL);
    const char *kinds[][2] = {{"pci", NULL}, {"usb", "usb_device"}, {"block", "disk"}, {"scsi", NULL}, {"virtio", NULL}};
    for (int i = 0; i < 5; i++) {
        P above = ((P (*)(P, const char *, const char *))symbol("udev_device_get_parent_with_subsystem_devtype"))(d, kinds[i][0], kinds[i][1]);
        sprintf(key, "parent %s", kinds[i][0]);
        show(key, above ? TEXT("device_get_syspath", above) : NULL);
    }
    for (P e = POINTER("device_get_properties_list_entry", d); e; e = list_next(e)) {
        snprintf(key, sizeof key, "property %s", name_of(e));
        show(key, TEXT("list_entry_get_value", e));
    }
    for (P e = POINTER("device_get_sysattr_list_entry", d); e; e = list_next(e)) {
        const char *name = name_of(e);
        snprintf(key, sizeof key, "attribute %s", name);
        /* Reading an I/O port of a PCI device may do something. */
        if (strstr(name, "resource") || strstr(name, "rom")) { show(key, "(not read)"); continue; }
        show(key, ((const char *(*)(P, const char *))symbol("udev_device_get_sysattr_value"))(d, name));
    }
    POINTER("device_unref", d);
}

static void condition(P udev, P e, char *word) {
    char *a = strchr(word, '=');
    *a++ = 0;
    char *b = strchr(a, '=');
    if (b && strncmp(word, "parent", 6)) *b++ = 0; else b = NULL;
    if (!strcmp(word, "subsystem")) CONDITION("match_subsystem", e, a);
    else if (!strcmp(word, "nosubsystem")) CONDITION("nomatch_subsystem", e, a);
    else if (!strcmp(word, "sysname")) CONDITION("match_sysname", e, a);
    else if (!strcmp(word, "attribute")) CONDITION2("match_sysattr", e, a, b);
    else if (!strcmp(word, "noattribute")) CONDITION2("nomatch_sysattr", e, a, b);
    else if (!strcmp(word, "property")) CONDITION2("match_property", e, a, b);
    else if (!strcmp(word, "tag")) CONDITION("match_tag", e, a);
    else if (!strcmp(word, "parent")) {
        P d = ((P (*)(P, const char *))symbol("udev_device_new_from_syspath"))(udev, a);
        ((int (*)(P, P))symbol("udev_enumerate_add_match_parent"))(e, d);
    } else exit(2);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    library = dlopen(argv[1], RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); return 2; }
    P udev = ((P (*)(void))symbol("udev_new"))();
    P e = POINTER("enumerate_new", udev);
    for (int i = 3; i < argc; i++) condition(udev, e, argv[i]);
    ((int (*)(P))symbol("udev_enumerate_scan_devices"))(e);
    for (P at = POINTER("enumerate_get_list_entry", e); at; at = list_next(at))
        if (!strcmp(argv[2], "dump")) dump(udev, name_of(at)); else show("device", name_of(at));
    return 0;
}
