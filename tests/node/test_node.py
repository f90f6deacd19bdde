"""trial"""
import subprocess
from tests.node.machine import Machine

def test_it(machine: Machine) -> None:
    print(subprocess.run(["kubectl", f"--kubeconfig={machine.kubeconfig}", "get", "nodes,pods", "-A", "-o", "wide"], capture_output=True, text=True))
    print(machine.last_words())
