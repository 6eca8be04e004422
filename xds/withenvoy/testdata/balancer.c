// A module of Envoy (dynamic modules of Envoy 1.40) that balances load for TestLoadBalancerModule: algorithm first chooses
// the first healthy endpoint, last the last one. It takes one configuration only, which shows that it arrives.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  const char *text;
  size_t length;
} buffer;

static const char expected[] = "{\"shop\":[\"orders\"]}";
static char first, last, balancer[2];

size_t envoy_dynamic_module_callback_lb_get_healthy_hosts_count(void *envoy, uint32_t priority);

const char *envoy_dynamic_module_on_program_init(void) { return "v0.2.0"; }

static bool is(buffer b, const char *text) { return b.length == strlen(text) && memcmp(b.text, text, b.length) == 0; }

const void *envoy_dynamic_module_on_lb_config_new(void *envoy, buffer name, buffer config) {
  if (!is(config, expected)) return NULL;
  return is(name, "first") ? &first : is(name, "last") ? &last : NULL;
}

void envoy_dynamic_module_on_lb_config_destroy(const void *config) {}

const void *envoy_dynamic_module_on_lb_new(const void *config, void *envoy) { return &balancer[config == &last]; }

bool envoy_dynamic_module_on_lb_choose_host(void *envoy, const void *lb, void *request, uint32_t *priority,
                                            uint32_t *index) {
  size_t hosts = envoy_dynamic_module_callback_lb_get_healthy_hosts_count(envoy, 0);
  if (hosts == 0) return false;
  *priority = 0;
  *index = lb == &balancer[1] ? (uint32_t)hosts - 1 : 0;
  return true;
}

void envoy_dynamic_module_on_lb_on_host_membership_update(void *envoy, const void *lb, size_t added, size_t removed) {}

void envoy_dynamic_module_on_lb_destroy(const void *lb) {}
