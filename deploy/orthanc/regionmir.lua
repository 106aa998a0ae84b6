-- RegionMIR in Orthanc: new instances are sent there, deleted studies are told. Add to "LuaScripts" in Orthanc's
-- configuration; REGIONMIR_MODALITY and REGIONMIR_HOOK come from Orthanc's environment.

local modality = os.getenv("REGIONMIR_MODALITY") or "regionmir"   -- its name in "DicomModalities"
local hook = os.getenv("REGIONMIR_HOOK") or ""                    -- such as http://regionmir:8044/pacs/main/deleted
local own_ae = os.getenv("REGIONMIR_AE_TITLE") or "REGIONMIR"

function OnStoredInstance(instanceId, tags, metadata, origin)
   -- What RegionMIR itself sent (results) does not go back to it.
   if origin["RemoteAet"] == own_ae or origin["RequestOrigin"] == "Lua" then
      return
   end
   if tags["Modality"] == "CR" or tags["Modality"] == "DX" then
      SendToModality(instanceId, modality)
   end
end

function OnDeletedStudy(studyId)
   -- RegionMIR asks Orthanc itself before it hides anything; if it is away, its comparison finds the deletion later.
   if hook ~= "" then
      HttpPost(hook, studyId, { ["Content-Type"] = "text/plain" })
   end
end
