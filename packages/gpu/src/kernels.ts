/** Every kernel there is, by name: what a device must run. One file each in kernels/; docs/adding-a-kernel.md names the file to imitate. */
import type * as Kernel from "./Kernel.ts"
import { matmulNN } from "./kernels/matmulNN.ts"
import { matmulNT } from "./kernels/matmulNT.ts"
import { matmulTN } from "./kernels/matmulTN.ts"
import { groupedMatmulNT } from "./kernels/groupedMatmulNT.ts"
import { groupedMatmulNN } from "./kernels/groupedMatmulNN.ts"
import { groupedMatmulTN } from "./kernels/groupedMatmulTN.ts"
import { widen } from "./kernels/widen.ts"
import { storedGather } from "./kernels/storedGather.ts"
import { storedMatmulNT } from "./kernels/storedMatmulNT.ts"
import { storedMatmulNN } from "./kernels/storedMatmulNN.ts"
import { storedGroupedMatmulNT } from "./kernels/storedGroupedMatmulNT.ts"
import { storedGroupedMatmulNN } from "./kernels/storedGroupedMatmulNN.ts"
import { fill } from "./kernels/fill.ts"
import { add } from "./kernels/add.ts"
import { multiply } from "./kernels/multiply.ts"
import { affine } from "./kernels/affine.ts"
import { addRow } from "./kernels/addRow.ts"
import { scaleRows } from "./kernels/scaleRows.ts"
import { divideRows } from "./kernels/divideRows.ts"
import { map } from "./kernels/map.ts"
import { mapGradient } from "./kernels/mapGradient.ts"
import { swiglu } from "./kernels/swiglu.ts"
import { swigluGradient } from "./kernels/swigluGradient.ts"
import { copyColumns } from "./kernels/copyColumns.ts"
import { permute } from "./kernels/permute.ts"
import { sumColumns } from "./kernels/sumColumns.ts"
import { sumRows } from "./kernels/sumRows.ts"
import { dotRows } from "./kernels/dotRows.ts"
import { sumSquares } from "./kernels/sumSquares.ts"
import { rmsNorm } from "./kernels/rmsNorm.ts"
import { rmsNormGradient } from "./kernels/rmsNormGradient.ts"
import { rmsNormGainGradient } from "./kernels/rmsNormGainGradient.ts"
import { rope } from "./kernels/rope.ts"
import { sinkShare } from "./kernels/sinkShare.ts"
import { sliceIndices } from "./kernels/sliceIndices.ts"
import { softmax } from "./kernels/softmax.ts"
import { causalSoftmax } from "./kernels/causalSoftmax.ts"
import { clampedSwiglu } from "./kernels/clampedSwiglu.ts"
import { clampedSwigluGradient } from "./kernels/clampedSwigluGradient.ts"
import { softmaxGradient } from "./kernels/softmaxGradient.ts"
import { crossEntropy } from "./kernels/crossEntropy.ts"
import { crossEntropyGradient } from "./kernels/crossEntropyGradient.ts"
import { gather } from "./kernels/gather.ts"
import { gatherScaled } from "./kernels/gatherScaled.ts"
import { countingSort } from "./kernels/countingSort.ts"
import { idsWithin } from "./kernels/idsWithin.ts"
import { sortFew } from "./kernels/sortFew.ts"
import { invert } from "./kernels/invert.ts"
import { segmentSum } from "./kernels/segmentSum.ts"
import { segmentLengths } from "./kernels/segmentLengths.ts"
import { combine } from "./kernels/combine.ts"
import { combineWeightGradient } from "./kernels/combineWeightGradient.ts"
import { topK } from "./kernels/topK.ts"
import { gatherColumns } from "./kernels/gatherColumns.ts"
import { scatterColumns } from "./kernels/scatterColumns.ts"
import { prefixPool } from "./kernels/prefixPool.ts"
import { prefixPoolGradient } from "./kernels/prefixPoolGradient.ts"
import { cacheRows } from "./kernels/cacheRows.ts"
import { cachedHeads } from "./kernels/cachedHeads.ts"
import { cachedScores } from "./kernels/cachedScores.ts"
import { cachedSoftmax } from "./kernels/cachedSoftmax.ts"
import { cachedMix } from "./kernels/cachedMix.ts"
import { placedSoftmax } from "./kernels/placedSoftmax.ts"
import { cachedPool } from "./kernels/cachedPool.ts"
import { ngramBuckets } from "./kernels/ngramBuckets.ts"
import { cachedNgramBuckets } from "./kernels/cachedNgramBuckets.ts"
import { clipFactor } from "./kernels/clipFactor.ts"
import { adamw } from "./kernels/adamw.ts"

export const kernels: ReadonlyMap<string, Kernel.Any> = new Map<string, Kernel.Any>([
  matmulNN,
  matmulNT,
  matmulTN,
  groupedMatmulNT,
  groupedMatmulNN,
  groupedMatmulTN,
  widen,
  storedGather,
  storedMatmulNT,
  storedMatmulNN,
  storedGroupedMatmulNT,
  storedGroupedMatmulNN,
  fill,
  add,
  multiply,
  affine,
  addRow,
  scaleRows,
  divideRows,
  map,
  mapGradient,
  swiglu,
  swigluGradient,
  copyColumns,
  permute,
  sumColumns,
  sumRows,
  dotRows,
  sumSquares,
  rmsNorm,
  rmsNormGradient,
  rmsNormGainGradient,
  rope,
  sinkShare,
  softmax,
  causalSoftmax,
  clampedSwiglu,
  clampedSwigluGradient,
  softmaxGradient,
  crossEntropy,
  crossEntropyGradient,
  gather,
  gatherScaled,
  countingSort,
  sortFew,
  idsWithin,
  invert,
  segmentSum,
  segmentLengths,
  combine,
  combineWeightGradient,
  topK,
  gatherColumns,
  sliceIndices,
  scatterColumns,
  prefixPool,
  prefixPoolGradient,
  cacheRows,
  cachedHeads,
  cachedScores,
  cachedSoftmax,
  cachedMix,
  placedSoftmax,
  cachedPool,
  ngramBuckets,
  cachedNgramBuckets,
  clipFactor,
  adamw
].map((kernel: Kernel.Any) => [kernel.name, kernel]))
