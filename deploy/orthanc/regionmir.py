"""The same as regionmir.lua, for an Orthanc with the Python plugin ("PythonScript" in its configuration)."""

import os
import urllib.request

import orthanc

MODALITY = os.environ.get("REGIONMIR_MODALITY", "regionmir")
HOOK = os.environ.get("REGIONMIR_HOOK", "")
OWN_AE = os.environ.get("REGIONMIR_AE_TITLE", "REGIONMIR")


def on_change(change_type, _level, resource_id):
    if change_type == orthanc.ChangeType.DELETED and _level == orthanc.ResourceType.STUDY and HOOK:
        request = urllib.request.Request(HOOK, resource_id.encode(), {"Content-Type": "text/plain"})  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=5).close()  # noqa: S310
        except OSError as error:  # the comparison of the full list finds it later
            orthanc.LogWarning(f"RegionMIR was not told of a deletion: {type(error).__name__}")


def on_stored(dicom, instance_id):
    if dicom.GetInstanceRemoteAet() != OWN_AE:
        orthanc.RestApiPost(
            f"/modalities/{MODALITY}/store", f'{{"Resources": ["{instance_id}"], "Synchronous": false}}'
        )


orthanc.RegisterOnChangeCallback(on_change)
orthanc.RegisterOnStoredInstanceCallback(on_stored)
