-- The health of Gateways, routes and policies for Argo CD. argocd-cm.yaml has it for each kind.
local health = { status = "Healthy", message = "" }

-- All conditions of an object: its own, and those for each parent of a route or ancestor of a policy.
local reports = {}
local function add(conditions, of)
  for _, condition in ipairs(conditions or {}) do
    table.insert(reports, { condition = condition, of = of })
  end
end
local status = obj.status or {}
add(status.conditions, "")
for _, parent in ipairs(status.parents or {}) do
  add(parent.conditions, (parent.parentRef or {}).name .. ": ")
end
for _, ancestor in ipairs(status.ancestors or {}) do
  add(ancestor.conditions, (ancestor.ancestorRef or {}).name .. ": ")
end

-- What must be true. Waiting is no mistake.
local required = { Accepted = true, ResolvedRefs = true, Programmed = true }
local waiting = { Pending = true, AddressNotAssigned = true, NoResources = true }
local accepted = false
local function worse(state, message)
  if health.status ~= "Degraded" then
    if health.status ~= state then
      health.message = ""
    end
    health.status = state
  elseif state ~= "Degraded" then
    return
  end
  if health.message ~= "" then
    health.message = health.message .. "\n"
  end
  health.message = health.message .. message
end
for _, report in ipairs(reports) do
  local condition = report.condition
  if condition.type == "Accepted" then
    accepted = true
  end
  if condition.observedGeneration ~= nil and obj.metadata.generation ~= nil
    and condition.observedGeneration < obj.metadata.generation then
    worse("Progressing", report.of .. "waiting for the control plane to see the newest version")
  elseif required[condition.type] and condition.status ~= "True" then
    local state = "Degraded"
    if condition.status == "Unknown" or waiting[condition.reason] then
      state = "Progressing"
    end
    worse(state, report.of .. condition.type .. ": " .. condition.message)
  end
end
if not accepted then
  worse("Progressing", "waiting for the control plane")
end
return health
