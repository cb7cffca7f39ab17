// Provides the volumes of the embedded Kubernetes: a folder on the node that the scheduler chose, as a `local`
// PersistentVolume with affinity for that node, deleted with its claim.
//
// Kubernetes' own host-path provisioner is no substitute: its folders belong to root whatever a pod's fsGroup says,
// and lie in /tmp without saying on which node.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/reference"
	"k8s.io/client-go/util/workqueue"
)

const (
	provisionedBy  = "pv.kubernetes.io/provisioned-by"
	selectedNode   = "volume.kubernetes.io/selected-node"
	hostnameLabel  = "kubernetes.io/hostname"
	claimPrefix    = "claim/"
	volumePrefix   = "volume/"
	requestTimeout = 10 * time.Second
	resyncPeriod   = time.Minute
	folderMode     = 0o770
)

type provisioner struct {
	client       kubernetes.Interface
	name         string // of the provisioner, as the StorageClass names it
	storageClass string
	folders      string // holds <node>/volumes/<volume>
	informers    informers.SharedInformerFactory
	queue        workqueue.TypedRateLimitingInterface[string]
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	name := flag.String("provisioner", "", "name of this provisioner")
	storageClass := flag.String("storage-class", "", "StorageClass whose claims are served")
	folders := flag.String("folders", "", "folder that holds <node>/volumes")
	flag.Parse()
	if err := run(*kubeconfig, *name, *storageClass, *folders); err != nil {
		slog.Error("ended", "error", err)
		os.Exit(1)
	}
}

func run(kubeconfig, name, storageClass, folders string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	p := &provisioner{
		client: client, name: name, storageClass: storageClass, folders: folders,
		informers: informers.NewSharedInformerFactory(client, resyncPeriod),
		queue:     workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	if err := p.watch(ctx); err != nil {
		return err
	}
	slog.Info("serving", "storageClass", storageClass, "folders", folders)
	go func() { <-ctx.Done(); p.queue.ShutDown() }()
	for p.next(ctx) {
	}
	return nil
}

// watch fills the queue with claims and volumes as they change.
func (p *provisioner) watch(ctx context.Context) error {
	enqueue := func(prefix string) cache.ResourceEventHandlerFuncs {
		add := func(object any) {
			if key, err := cache.MetaNamespaceKeyFunc(object); err == nil {
				p.queue.Add(prefix + key)
			}
		}
		return cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, object any) { add(object) }}
	}
	core := p.informers.Core().V1()
	if _, err := core.PersistentVolumeClaims().Informer().AddEventHandler(enqueue(claimPrefix)); err != nil {
		return err
	}
	if _, err := core.PersistentVolumes().Informer().AddEventHandler(enqueue(volumePrefix)); err != nil {
		return err
	}
	p.informers.Start(ctx.Done())
	for kind, synced := range p.informers.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("no list of %v", kind)
		}
	}
	return nil
}

// next works off one key; a failure is logged and tried again later.
func (p *provisioner) next(ctx context.Context) bool {
	key, shutdown := p.queue.Get()
	if shutdown {
		return false
	}
	defer p.queue.Done(key)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var err error
	if name, ok := strings.CutPrefix(key, volumePrefix); ok {
		err = p.reclaim(ctx, name)
	} else {
		err = p.provision(ctx, strings.TrimPrefix(key, claimPrefix))
	}
	if err != nil {
		slog.Warn("will try again", "key", key, "error", err)
		p.queue.AddRateLimited(key)
		return true
	}
	p.queue.Forget(key)
	return true
}

// provision makes the volume of a claim whose node is chosen.
func (p *provisioner) provision(ctx context.Context, key string) error {
	namespace, name, err := cache.SplitMetaNamespaceKey(key)
	if err != nil {
		return nil
	}
	claim, err := p.informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	node := claim.Annotations[selectedNode]
	ours := claim.Spec.StorageClassName != nil && *claim.Spec.StorageClassName == p.storageClass
	if !ours || node == "" || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	if node != filepath.Base(node) {
		return fmt.Errorf("node name %q is no folder name", node)
	}
	bound, err := reference.GetReference(scheme.Scheme, claim)
	if err != nil {
		return err
	}
	// The claim's UID in the name makes a repetition find what is there.
	volume := "pvc-" + string(claim.UID)
	folder := filepath.Join(p.folders, node, "volumes", volume)
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return err
	}
	if err := os.Chmod(folder, folderMode); err != nil {
		return err
	}
	mode := corev1.PersistentVolumeFilesystem
	if claim.Spec.VolumeMode != nil {
		mode = *claim.Spec.VolumeMode
	}
	_, err = p.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volume, Annotations: map[string]string{provisionedBy: p.name}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              p.storageClass,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    &mode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef:                      bound,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: folder}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: hostnameLabel, Operator: corev1.NodeSelectorOpIn, Values: []string{node},
				}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		slog.Info("provisioned", "claim", key, "volume", volume, "node", node)
	}
	return err
}

// reclaim deletes a volume that its claim released, with what it holds.
func (p *provisioner) reclaim(ctx context.Context, name string) error {
	volume, err := p.informers.Core().V1().PersistentVolumes().Lister().Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	released := volume.Status.Phase == corev1.VolumeReleased || volume.Status.Phase == corev1.VolumeFailed
	deletes := volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
	if volume.Annotations[provisionedBy] != p.name || !released || !deletes || volume.Spec.Local == nil {
		return nil
	}
	folder := volume.Spec.Local.Path
	if inside, err := filepath.Rel(p.folders, folder); err != nil || strings.HasPrefix(inside, "..") {
		return fmt.Errorf("folder %q is not below %q", folder, p.folders)
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, name, metav1.DeleteOptions{})
	if err == nil {
		slog.Info("reclaimed", "volume", name)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
