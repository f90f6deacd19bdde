"""The differences from kube-apiserver that are meant, or not worth its machinery, each with its reason.

A line matches a pattern from its beginning (`re.match`); it starts with the name of the scenario. A pattern
that matches nothing fails the test too, so that this table stays true. Pure.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A pattern for lines of `compare.differences`, and why it is so."""

    pattern: str
    reason: str


# What a member's own controllers and admission fill in belongs to the member: sent back and forth it would
# be drift.
_MEMBER = "a member decides it, and the federation leaves it open"
_NEWER = "a default of newer Kubernetes releases only, which members of older ones would refuse"
_GO = "kube-apiserver prints Go's types or refers to its own code there"
_CODE = "a mistake of the client: 400, where kube-apiserver has no better answer than 500"

KNOWN: tuple[Known, ...] = (
    Known(
        r".* \.(items\[\d+\]|rows\[\d+\]\.object)?\.?metadata\.generation: ",
        "every kind has a generation, because the sync state of every kind says which one it has seen",
    ),
    Known(
        r".* (\.status[^:]*|\S*managedFields\.validatingadmissionpolicy-status .*): ours nothing",
        "status is computed from members; nobody has reported any, and no controller writes one here",
    ),
    Known(r".* Service.*\.spec\.(clusterIPs?|ipFamilies|ipFamilyPolicy): ours nothing", _MEMBER),
    Known(r"apply-services .*\.spec\.(clusterIPs?|ipFamilies|ipFamilyPolicy): ours nothing", _MEMBER),
    Known(r".* Service.*\.spec\.ports\[\d+\]\.nodePort: ours nothing", _MEMBER),
    Known(r".* Job(-2)? \.(.*labels|spec\.selector|rows\[0\]\.cells\[7\])", _MEMBER),
    Known(r".* DaemonSet .*annotations", "a leftover of extensions/v1beta1 that nothing reads"),
    Known(r".* StatefulSet .*maxUnavailable: ours nothing", _NEWER),
    Known(r".* CSIDriver .*preventPodSchedulingIfMissing: ours nothing", _NEWER),
    Known(
        r".* ReplicationController .*managedFields.*f:template",
        "its template is a pointer in Go, so that its containers count as set; that of other kinds is not",
    ),
    Known(
        r"(kinds|owned) .* CronJob .*jobTemplate\.metadata: ours nothing", "an empty object that says nothing"
    ),
    Known(r".* PersistentVolume(Claim)? .*metadata\.finalizers: ours nothing", _MEMBER),
    Known(
        r"(kinds|owned) create Namespace .*f(inalizers|:spec)",
        "the namespace's finalizer is no user's field either way",
    ),
    Known(r"(kinds|owned) .* Pod \.spec\.(priority|preemptionPolicy|tolerations): ours nothing", _MEMBER),
    Known(
        r"owned .*\.spec\.(username|extra): ours",
        "the two servers know their clients by other names; neither takes what the client says",
    ),
    Known(
        r"owned .*metadata\.managedFields: ours .*f:signerName",
        "a request's spec never changes, and kube-apiserver does not record who wrote it",
    ),
    Known(r"apply-deployments [45] \w HTTP: ours 400 .* real 500", _CODE),
    Known(
        r"apply-deployments 6 o HTTP: ours 400 .* real 422",
        "an item without its key is refused before it is merged; kube-apiserver merges and then validates",
    ),
    Known(
        r"apply-deployments 11 k HTTP: ours 200 .* real 409",
        "a quantity is compared in its canonical form: the number 1 and the text 1000m are no conflict",
    ),
    Known(r"strategic (1|6|11) HTTP: ours 400 .* real 500", _CODE),
    Known(
        r"strategic 16 HTTP: ours 200 .* real 500",
        "$patch: merge in an object says what happens anyway; kube-apiserver knows it in lists only",
    ),
    Known(r"strategic 13 .*Invalid value: \{\}", _GO),
    Known(r"strategic 20 HTTP: ours 422 .* real 400", "another name is an immutable field here"),
    Known(r"strategic 22 \.details: ours nothing", _GO),
    Known(r"patches (json|merge)( strict)? \d+ \.details: ours nothing", _GO),
    Known(
        r"patches json 3 HTTP: ours 422 .* real 200",
        "RFC 6902: replace needs a value that is there; the library of kube-apiserver adds it",
    ),
    Known(
        r"patches merge( strict)? 8 HTTP: ours 409 .* real 422",
        "another uid is another object: 409, as in update",
    ),
    Known(r"requests apply another uid HTTP: ours 409 .* real 422", "another uid is another object: 409"),
    Known(r"updates another uid \.details\.kind", "kube-apiserver knows less about itself there"),
    Known(r"updates a version that is none HTTP: ours 422 .* real 500", _CODE),
    Known(r"updates scale table .*\[0\]\.format", "a name is a name; kubectl prints the same"),
    Known(r"updates scale \.spec\.replicas: ours 0", "0 is said, Go leaves it out"),
    Known(r"updates scaled below zero .*causes\[0\]\.message", "the words differ"),
    Known(
        r"deletes (another (uid|version)|version (to come|zero|none)) \.details\.kind",
        "the resource, as in all other conflicts",
    ),
    Known(
        r"deletes (bad propagation|two propagations|bad dry run) \.details: ours nothing",
        "the message says which option it is, there is no object to give details of",
    ),
    Known(r"deletes another finalizer .*causes\[0\]\.message", _GO),
    Known(
        r"deletes after (Foreground|Orphan) HTTP: ours 404",
        "dependents are looked after here; that cluster has no garbage collector",
    ),
    Known(r"lists = HTTP: ours 400", "a selector of nothing is a mistake"),
    Known(
        r"deletes collection \.items\[\d\]\.(apiVersion|kind): ours ", "items say what they are, as in lists"
    ),
    Known(
        r"lists whole \.items\[0\]\.(apiVersion|kind): ours ", "items say what they are; clients take both"
    ),
    Known(r"lists negative limit HTTP: ours 400", "a mistake, where kube-apiserver reads no limit"),
    Known(
        r"lists (match of nothing|match without version|exact zero) \.details: ours nothing",
        "the message says which option it is, there is no object to give details of",
    ),
    Known(r"watches a version that is none HTTP: ours 400 .* real 500", _CODE),
    Known(
        r"watches (initial events without match|match without initial events) \.details: ours nothing",
        "the message says which option it is, there is no object to give details of",
    ),
    Known(
        r"tables \w+ \.columnDefinitions\[\d+\]\.type: ours ",
        "the type of the cell that is sent; kubectl prints the same",
    ),
    Known(r"tables list of Secret|tables whole Secret", "the type of the cell that is sent"),
    Known(
        r"tables (PodTemplate|ServiceAccount|CSIDriver|ValidatingWebhookConfiguration) ",
        "kinds that few people look at have the columns of older releases, or name and age",
    ),
    Known(r"tables LimitRange ", "an age, as all others have"),
    Known(r"tables ResourceQuota .*cells\[1\]", "what is asked for is shown before anybody counts"),
    Known(r"tables (PriorityClass|StorageClass) ", "kubectl prints the same"),
    Known(r"tables StorageVersionMigration .*\[0\]\.format", "a name is a name; kubectl prints the same"),
    Known(r"tables whole \w+ \.rows\[0\]\.object: ours nothing", "null and nothing are the same to clients"),
    Known(r"tables bad include HTTP: ours 200", "an unknown includeObject shows no object"),
    Known(
        r"sizes too much text HTTP: ours 413 .* real 500",
        "too large is too large, where kube-apiserver passes on what its client of etcd says",
    ),
    Known(r"custom crd ", "a CRD is established at once, and its finalizer is there from the start"),
    Known(
        r"custom \d+ \w+ \.details\.causes",
        "kube-apiserver shows the type or stops at the first, we show the value",
    ),
    Known(r"custom (list|fields \S+) \.metadata\.continue: ours nothing", "no continue is no continue"),
    Known(
        r"objects (no selector|hpa range|hpa empty) \.details\.causes: ",
        "what follows from the first mistake is left out",
    ),
    Known(r"objects owner .*causes", "invalid, as in releases until 1.36; required since"),
    Known(r"objects strategy type .*causes\[0\]", _GO),
    Known(r"objects (same ports|schedule|ingress empty|budget) .*causes\[\d\]\.message", _GO),
    Known(r"objects (path type|role|namespace) .*causes\[0\]\.message", "the words differ"),
    Known(r"requests no such (group|path) : ", "a Status, where kube-apiserver answers text"),
    Known(r"requests no such version \.details: ", "it says more"),
    Known(
        r"requests namespaced without HTTP: ours 405 .* real 404",
        "the resource is there, the namespace is missing",
    ),
    Known(r"requests a version on create HTTP: ours 400 .* real 500", _CODE),
    Known(
        r"requests (dry run|validation|manager( text)?|force of a merge|apply without a manager) \.details",
        "the message says which option it is, there is no object to give details of",
    ),
)
