-- The health of an object of ours (backup.vitess.io), whatever its kind, for Argo CD.
-- It looks at the conditions that kstatus defines and every status of ours has: Ready, and Stalled while it holds.
local health = {status = "Progressing", message = "the operator has not seen it yet"}
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  return health
end
for _, condition in ipairs(status.conditions) do
  local words = condition.reason
  if condition.message ~= nil and condition.message ~= "" then
    words = words .. ": " .. condition.message
  end
  if condition.type == "Stalled" and condition.status == "True" then
    return {status = "Degraded", message = words}
  end
  if condition.type == "Ready" then
    health.message = words
    if condition.status == "True" then
      health.status = "Healthy"
    end
  end
end
return health
