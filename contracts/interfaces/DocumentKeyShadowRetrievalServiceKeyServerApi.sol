// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// What key servers use to answer shadow retrieval requests.
interface DocumentKeyShadowRetrievalServiceKeyServerApi {
    event DocumentKeyCommonRetrievalRequested(bytes32 serverKeyId, address requester);
    event DocumentKeyPersonalRetrievalRequested(bytes32 serverKeyId, bytes requesterPublic);

    function documentKeyCommonRetrieved(
        bytes32 serverKeyId,
        address requester,
        bytes calldata commonPoint,
        uint8 threshold
    ) external;

    /// Bit i of `participants` stands for the key server with index i.
    function documentKeyPersonalRetrieved(
        bytes32 serverKeyId,
        address requester,
        uint256 participants,
        bytes calldata decryptedSecret,
        bytes calldata shadow
    ) external;

    function documentKeyShadowRetrievalError(bytes32 serverKeyId, address requester) external;

    function documentKeyShadowRetrievalRequestsCount() external view returns (uint256);

    function getDocumentKeyShadowRetrievalRequest(uint256 index)
        external
        view
        returns (bytes32 serverKeyId, bytes memory requesterPublic, bool isCommonRetrievalCompleted);

    /// Mind the order: the requester comes before the key server.
    function isDocumentKeyShadowRetrievalResponseRequired(
        bytes32 serverKeyId,
        address requester,
        address keyServer
    ) external view returns (bool);
}
