/* A libnvidia-ml.so.1 for tests: the calls rfsched makes, answered from the file named by RFSTUB_STATE.
 *
 * The file is read anew at every call, so a test changes the machine by rewriting it. Lines, fields separated by tabs:
 *   init <code>                       what nvmlInitWithFlags returns
 *   driver <version>
 *   hang <call> <seconds>             a call of that name sleeps first
 *   fail <call> <code>                a call of that name returns the code
 *   crash <call>                      a call of that name takes the process with it
 *   gpu <uuid> <name> <total> <used> <util> <temperature> <power mW> <lost 0|1>     (-1 = not supported, -2 = ~0)
 *   proc <gpu index> <c|g> <pid> <bytes or -2>      (a MIG device's index is 1000 plus its place among all of them)
 *   mig <gpu index> <uuid> <name> <total> <used>    a part of that GPU; without parts: `split <gpu index>`
 *   load <gpu index> <pid> <sm %> <time us>         a sample of a process's utilisation
 *   xid <gpu index> <number> <serial>               a critical error; told once to each process, by its serial
 *   cap <gpu index> <major> <minor>                 compute capability; without it the call is not supported
 *   way <gpu index> <gpu index> <level>             level of the common ancestor (10 = one PCIe switch, ...)
 *   nvlink <gpu index> <link> <active 0|1> <gpu index or -1 = a switch>
 *   p2p <gpu index> <gpu index> <status>            over NVLink; without it 0 = they reach each other
 *
 * -DOLD_DRIVER leaves out the _v2 and _v3 calls, as drivers of 2019 do.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15 };
enum { MAX_GPUS = 32, MAX_PROCS = 256, FIRST_MIG = 1000 };

typedef long long i64;
typedef unsigned long long u64;
typedef struct { char uuid[96], name[96]; i64 total, used, util, temperature, power; int lost, split, parent; } gpu_t;
typedef struct { int gpu; char kind; unsigned pid; i64 used; } proc_t;
typedef struct { unsigned pid; u64 used; } proc_v1;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } proc_v2;
typedef struct { u64 total, free, used; } memory_v1;
typedef struct { unsigned version; u64 total, reserved, free, used; } memory_v2;
typedef struct { unsigned gpu, memory; } util_t;
typedef struct { unsigned pid; u64 time; unsigned sm, memory, encoder, decoder; } sample_t;
typedef struct { int gpu; unsigned number, serial; } xid_t;
typedef struct { int one, two, value; } pair_t;
typedef struct { int gpu, link, active, end; } nvlink_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { void *device; u64 type, data; unsigned gpu_instance, compute_instance; } event_t;

static pair_t ways[MAX_PROCS], p2ps[MAX_PROCS];
static nvlink_t nvlinks[MAX_PROCS];
static int caps[MAX_GPUS][2], way_count, p2p_count, nvlink_count;
static gpu_t gpus[MAX_GPUS], migs[MAX_GPUS];
static proc_t procs[MAX_PROCS];
static sample_t samples[MAX_PROCS];
static int sample_gpu[MAX_PROCS];
static xid_t xids[MAX_PROCS];
static int gpu_count, mig_count, proc_count, sample_count, xid_count, init_code, call_code;
#ifndef OLD_DRIVER
static unsigned xids_told[MAX_GPUS], registered;
#endif
static char driver[80];

static u64 figure(i64 value) { return value == -2 ? ~0ULL : (u64)value; }

static void load(const char *call) {
    char line[512], name[128];
    double seconds;
    int code;
    const char *path = getenv("RFSTUB_STATE");
    FILE *file = path ? fopen(path, "r") : NULL;
    gpu_count = mig_count = proc_count = sample_count = xid_count = call_code = 0;
    way_count = p2p_count = nvlink_count = 0;
    memset(caps, 0, sizeof caps);
    memset(gpus, 0, sizeof gpus);
    memset(migs, 0, sizeof migs);
    init_code = file ? SUCCESS : DRIVER_NOT_LOADED;
    strcpy(driver, "550.54.15");
    while (file && fgets(line, sizeof line, file)) {
        gpu_t *g = &gpus[gpu_count];
        gpu_t *m = &migs[mig_count];
        proc_t *p = &procs[proc_count];
        sample_t *s = &samples[sample_count];
        xid_t *x = &xids[xid_count];
        pair_t *w = &ways[way_count], *t = &p2ps[p2p_count];
        nvlink_t *n = &nvlinks[nvlink_count];
        int major, minor;
        if (sscanf(line, "init\t%d", &code) == 1) init_code = code;
        else if (sscanf(line, "driver\t%79s", name) == 1) strcpy(driver, name);
        else if (sscanf(line, "hang\t%127s\t%lf", name, &seconds) == 2) {
            if (strcmp(name, call) == 0) usleep((useconds_t)(seconds * 1e6));
        } else if (sscanf(line, "fail\t%127s\t%d", name, &code) == 2) {
            if (strcmp(name, call) == 0) call_code = code;
        } else if (sscanf(line, "crash\t%127s", name) == 1) {
            if (strcmp(name, call) == 0) raise(SIGSEGV);
        } else if (sscanf(line, "gpu\t%95[^\t]\t%95[^\t]\t%lld\t%lld\t%lld\t%lld\t%lld\t%d", g->uuid, g->name, &g->total,
                          &g->used, &g->util, &g->temperature, &g->power, &g->lost) == 8) {
            if (gpu_count < MAX_GPUS - 1) gpu_count++;
        } else if (sscanf(line, "mig\t%d\t%95[^\t]\t%95[^\t]\t%lld\t%lld", &m->parent, m->uuid, m->name, &m->total,
                          &m->used) == 5) {
            m->util = m->temperature = m->power = -1;
            gpus[m->parent].split = 1;
            if (mig_count < MAX_GPUS - 1) mig_count++;
        } else if (sscanf(line, "split\t%d", &code) == 1) {
            gpus[code].split = 1;
        } else if (sscanf(line, "proc\t%d\t%c\t%u\t%lld", &p->gpu, &p->kind, &p->pid, &p->used) == 4) {
            if (proc_count < MAX_PROCS - 1) proc_count++;
        } else if (sscanf(line, "load\t%d\t%u\t%u\t%llu", &sample_gpu[sample_count], &s->pid, &s->sm, &s->time) == 4) {
            if (sample_count < MAX_PROCS - 1) sample_count++;
        } else if (sscanf(line, "xid\t%d\t%u\t%u", &x->gpu, &x->number, &x->serial) == 3) {
            if (xid_count < MAX_PROCS - 1) xid_count++;
        } else if (sscanf(line, "cap\t%d\t%d\t%d", &code, &major, &minor) == 3) {
            caps[code][0] = major;
            caps[code][1] = minor;
        } else if (sscanf(line, "way\t%d\t%d\t%d", &w->one, &w->two, &w->value) == 3) {
            if (way_count < MAX_PROCS - 1) way_count++;
        } else if (sscanf(line, "p2p\t%d\t%d\t%d", &t->one, &t->two, &t->value) == 3) {
            if (p2p_count < MAX_PROCS - 1) p2p_count++;
        } else if (sscanf(line, "nvlink\t%d\t%d\t%d\t%d", &n->gpu, &n->link, &n->active, &n->end) == 4) {
            if (nvlink_count < MAX_PROCS - 1) nvlink_count++;
        }
    }
    if (file) fclose(file);
}

/* A handle is the index plus one, because a handle of NULL would hide a missing argument. */
static int enter(const char *call, void *handle, gpu_t **gpu) {
    load(call);
    size_t index = (size_t)handle - 1;
    if (call_code) return call_code;
    if (handle != NULL && index >= FIRST_MIG && index < (size_t)(FIRST_MIG + mig_count)) {
        *gpu = &migs[index - FIRST_MIG];
        return gpus[(*gpu)->parent].lost ? GPU_IS_LOST : SUCCESS;
    }
    if (handle == NULL || index >= (size_t)gpu_count) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return (*gpu)->lost ? GPU_IS_LOST : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; load("nvmlInitWithFlags"); return call_code ? call_code : init_code; }
int nvmlShutdown(void) { load("nvmlShutdown"); return call_code; }
const char *nvmlErrorString(int code) { (void)code; return "stub error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    load("nvmlSystemGetDriverVersion");
    snprintf(out, size, "%s", driver);
    return call_code;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    load("nvmlDeviceGetCount");
    *count = (unsigned)gpu_count;
    return call_code;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    gpu_t *gpu;
    *handle = (void *)((size_t)index + 1);
    return enter("nvmlDeviceGetHandleByIndex", *handle, &gpu);
}

int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetUUID", handle, &gpu);
    if (code == SUCCESS) snprintf(out, size, "%s", gpu->uuid);
    return code;
}

int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetName", handle, &gpu);
    if (code == SUCCESS) snprintf(out, size, "%s", gpu->name);
    return code;
}

int nvmlDeviceGetMemoryInfo(void *handle, memory_v1 *out) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetMemoryInfo", handle, &gpu);
    if (code != SUCCESS) return code;
    if (gpu->total == -1) return NOT_SUPPORTED;
    out->total = figure(gpu->total);
    out->used = figure(gpu->used);
    out->free = out->total - out->used;
    return SUCCESS;
}

static int number(const char *call, void *handle, size_t offset, unsigned *out) {
    gpu_t *gpu;
    int code = enter(call, handle, &gpu);
    if (code != SUCCESS) return code;
    i64 value = *(i64 *)((char *)gpu + offset);
    if (value == -1) return NOT_SUPPORTED;
    *out = (unsigned)figure(value);
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, util_t *out) {
    out->memory = 0;
    return number("nvmlDeviceGetUtilizationRates", handle, offsetof(gpu_t, util), &out->gpu);
}

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *out) {
    (void)sensor;
    return number("nvmlDeviceGetTemperature", handle, offsetof(gpu_t, temperature), out);
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned *out) {
    return number("nvmlDeviceGetPowerUsage", handle, offsetof(gpu_t, power), out);
}

/* Called with no room first, to learn how much is needed; both layouts begin with pid and memory. */
static int list(const char *call, void *handle, char kind, unsigned *count, void *out, size_t stride) {
    gpu_t *gpu;
    int code = enter(call, handle, &gpu);
    if (code != SUCCESS) return code;
    unsigned room = *count, found = 0;
    for (int i = 0; i < proc_count; i++) {
        if (procs[i].gpu != (int)((size_t)handle - 1) || procs[i].kind != kind) continue;
        if (out && found < room) {
            proc_v1 *entry = (proc_v1 *)((char *)out + found * stride);
            memset(entry, 0, stride);
            entry->pid = procs[i].pid;
            entry->used = figure(procs[i].used);
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

#define LIST(symbol, call, kind, type) \
    int symbol(void *handle, unsigned *count, type *out) { return list(call, handle, kind, count, out, sizeof(type)); }

LIST(nvmlDeviceGetComputeRunningProcesses, "nvmlDeviceGetComputeRunningProcesses", 'c', proc_v1)
LIST(nvmlDeviceGetGraphicsRunningProcesses, "nvmlDeviceGetGraphicsRunningProcesses", 'g', proc_v1)

#ifndef OLD_DRIVER
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetMigMode", handle, &gpu);
    if (code == SUCCESS) *current = *pending = (unsigned)gpu->split;
    return code;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    gpu_t *gpu;
    *count = 7;
    return enter("nvmlDeviceGetMaxMigDeviceCount", handle, &gpu);
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **part) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetMigDeviceHandleByIndex", handle, &gpu);
    if (code != SUCCESS) return code;
    for (int i = 0; i < mig_count; i++)
        if (&gpus[migs[i].parent] == gpu && index-- == 0) {
            *part = (void *)((size_t)(FIRST_MIG + i) + 1);
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetEnforcedPowerLimit", handle, &gpu);
    if (code == SUCCESS && gpu->power == -1) return NOT_SUPPORTED;
    *limit = 350000;
    return code;
}

/* Utilisation by process: only samples newer than the given time, and none at all is an error of its own. */
int nvmlDeviceGetProcessUtilization(void *handle, sample_t *out, unsigned *count, u64 since) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetProcessUtilization", handle, &gpu);
    if (code != SUCCESS) return code;
    unsigned room = *count, found = 0;
    for (int i = 0; i < sample_count; i++) {
        if (sample_gpu[i] != (int)(gpu - gpus) || samples[i].time <= since) continue;
        if (out && found < room) out[found] = samples[i];
        found++;
    }
    *count = found;
    if (found == 0) return NOT_FOUND;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

/* One event set a process; a GPU that is lost cannot be registered, as on a real driver. */
int nvmlEventSetCreate(void **set) { load("nvmlEventSetCreate"); *set = (void *)1; registered = 0; return call_code; }
int nvmlEventSetFree(void *set) { (void)set; registered = 0; return SUCCESS; }

int nvmlDeviceRegisterEvents(void *handle, u64 types, void *set) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceRegisterEvents", handle, &gpu);
    (void)set;
    if (code == SUCCESS && (types & 8)) registered |= 1u << (gpu - gpus);
    return code;
}

int nvmlEventSetWait_v2(void *set, event_t *event, unsigned timeout_ms) {
    (void)set; (void)timeout_ms;
    load("nvmlEventSetWait");
    if (call_code) return call_code;
    for (int i = 0; i < xid_count; i++) {
        if (xids[i].serial <= xids_told[xids[i].gpu] || !(registered >> xids[i].gpu & 1)) continue;
        xids_told[xids[i].gpu] = xids[i].serial;
        memset(event, 0, sizeof *event);
        event->device = (void *)((size_t)xids[i].gpu + 1);
        event->type = 8;
        event->data = xids[i].number;
        return SUCCESS;
    }
    return TIMEOUT;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2 *out) {
    memory_v1 plain;
    int code = nvmlDeviceGetMemoryInfo(handle, &plain);
    if (code != SUCCESS) return code;
    out->total = plain.total;
    out->reserved = 0;
    out->free = plain.free;
    out->used = plain.used;
    return SUCCESS;
}
LIST(nvmlDeviceGetComputeRunningProcesses_v2, "nvmlDeviceGetComputeRunningProcesses", 'c', proc_v2)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, "nvmlDeviceGetComputeRunningProcesses", 'c', proc_v2)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, "nvmlDeviceGetGraphicsRunningProcesses", 'g', proc_v2)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, "nvmlDeviceGetGraphicsRunningProcesses", 'g', proc_v2)

/* What does not change: compute capability, and how the GPUs are connected. */
int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetCudaComputeCapability", handle, &gpu);
    if (code != SUCCESS) return code;
    if ((size_t)handle > FIRST_MIG || caps[gpu - gpus][0] == 0) return NOT_SUPPORTED;
    *major = caps[gpu - gpus][0];
    *minor = caps[gpu - gpus][1];
    return SUCCESS;
}

static void write_bus(pci_t *out, int index) {
    memset(out, 0, sizeof *out);
    if (index < 0) snprintf(out->bus_id, sizeof out->bus_id, "00000000:C4:00.0");
    else snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", index + 1);
}

int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *out) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetPciInfo", handle, &gpu);
    if (code == SUCCESS) write_bus(out, (int)(gpu - gpus));
    return code;
}

static int pair(const pair_t *pairs, int count, void *one, void *two, unsigned *out) {
    int a = (int)((size_t)one - 1), b = (int)((size_t)two - 1);
    for (int i = 0; i < count; i++)
        if ((pairs[i].one == a && pairs[i].two == b) || (pairs[i].one == b && pairs[i].two == a)) {
            *out = (unsigned)pairs[i].value;
            return SUCCESS;
        }
    return NOT_SUPPORTED;
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *two, unsigned *level) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetTopologyCommonAncestor", one, &gpu);
    return code == SUCCESS ? pair(ways, way_count, one, two, level) : code;
}

int nvmlDeviceGetP2PStatus(void *one, void *two, unsigned index, unsigned *status) {
    gpu_t *gpu;
    int code = enter("nvmlDeviceGetP2PStatus", one, &gpu);
    *status = index == 2 ? 0 : 5;
    if (code == SUCCESS) pair(p2ps, p2p_count, one, two, status);
    return code;
}

static int nvlink(const char *call, void *handle, unsigned link, nvlink_t **out) {
    gpu_t *gpu;
    int code = enter(call, handle, &gpu);
    for (int i = 0; code == SUCCESS && i < nvlink_count; i++)
        if (nvlinks[i].gpu == (int)(gpu - gpus) && nvlinks[i].link == (int)link) {
            *out = &nvlinks[i];
            return SUCCESS;
        }
    return code == SUCCESS ? INVALID_ARGUMENT : code;
}

int nvmlDeviceGetNvLinkState(void *handle, unsigned link, unsigned *active) {
    nvlink_t *found;
    int code = nvlink("nvmlDeviceGetNvLinkState", handle, link, &found);
    if (code == SUCCESS) *active = (unsigned)found->active;
    return code;
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *handle, unsigned link, pci_t *out) {
    nvlink_t *found;
    int code = nvlink("nvmlDeviceGetNvLinkRemotePciInfo", handle, link, &found);
    if (code == SUCCESS) write_bus(out, found->end);
    return code;
}
#endif
