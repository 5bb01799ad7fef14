package main

import (
	"context"
	"flag"
	"log"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// The name that addons.yaml's StorageClass gives as its provisioner.
const provisioner = "vitess-backup-operator/local-volumes"

// Annotations between the scheduler, the volume controller and a provisioner outside of it (k8s.io/component-helpers,
// storage/volume).
const (
	selectedNode  = "volume.kubernetes.io/selected-node"
	provisionedBy = "pv.kubernetes.io/provisioned-by"
)

// localVolumes makes a folder of this node into a "local" volume for each claim of its StorageClass, and removes it with
// the claim. Kubernetes' own host-path provisioner makes hostPath volumes, which do not honour a pod's fsGroup.
type localVolumes struct {
	client  kubernetes.Interface
	claims  corelisters.PersistentVolumeClaimLister
	volumes corelisters.PersistentVolumeLister
	classes storagelisters.StorageClassLister
	node    string
	dir     string
}

// runLocalVolumes watches claims and volumes for ever; every change leads to one pass over all of them.
func runLocalVolumes() {
	flags := flag.NewFlagSet("local-volumes", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "kubeconfig file")
	node := flags.String("node-name", "", "the node whose disk this is")
	dir := flags.String("dir", "", "folder that holds the volumes' folders")
	_ = flags.Parse(os.Args[1:]) // ExitOnError

	client := ok(kubernetes.NewForConfig(ok(clientcmd.BuildConfigFromFlags("", *kubeconfig))))
	factory := informers.NewSharedInformerFactory(client, 10*time.Minute)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()

	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default: // a pass is due already
		}
	}
	onChange := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake() },
		UpdateFunc: func(any, any) { wake() },
		DeleteFunc: func(any) { wake() },
	}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer(), classes.Informer()} {
		ok(informer.AddEventHandler(onChange))
	}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	l := localVolumes{client, claims.Lister(), volumes.Lister(), classes.Lister(), *node, *dir}
	for range changed {
		if err := l.pass(ctx); err != nil {
			log.Print(err)
			time.AfterFunc(time.Second, wake)
		}
	}
}

// pass provisions what is asked for and reclaims what is released; the last error is given, after all were tried.
func (l localVolumes) pass(ctx context.Context) error {
	claims, last := l.claims.List(labels.Everything())
	for _, claim := range claims {
		class := l.asksForVolume(claim)
		if class == nil {
			continue
		}
		if err := l.provision(ctx, claim, class); err != nil && !apierrors.IsAlreadyExists(err) {
			last = err
		}
	}
	volumes, err := l.volumes.List(labels.Everything())
	if err != nil {
		last = err
	}
	for _, volume := range volumes {
		if !isReclaimable(volume) {
			continue
		}
		if err := l.reclaim(ctx, volume); err != nil && !apierrors.IsNotFound(err) {
			last = err
		}
	}
	return last
}

// asksForVolume gives the class of a claim that waits for this provisioner, on this node if its class binds late.
func (l localVolumes) asksForVolume(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := l.classes.Get(*claim.Spec.StorageClassName)
	if err != nil || class.Provisioner != provisioner {
		return nil
	}
	late := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	if late && claim.Annotations[selectedNode] != l.node {
		return nil
	}
	if _, err := l.volumes.Get(volumeName(claim)); err == nil {
		return nil
	}
	return class
}

func volumeName(claim *corev1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

func (l localVolumes) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) error {
	path := filepath.Join(l.dir, volumeName(claim))
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Like the usual local provisioners: any user of a pod may write, whatever this process's umask says.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err := l.client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: volumeName(claim), Annotations: map[string]string{provisionedBy: provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{l.node}},
				}}},
			}},
		},
	}, metav1.CreateOptions{})
	return err
}

// isReclaimable says whether the claim of one of our volumes is gone and the class wants its data gone as well.
func isReclaimable(volume *corev1.PersistentVolume) bool {
	return volume.Annotations[provisionedBy] == provisioner &&
		volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete &&
		volume.DeletionTimestamp == nil && volume.Spec.Local != nil
}

func (l localVolumes) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	return l.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
}
